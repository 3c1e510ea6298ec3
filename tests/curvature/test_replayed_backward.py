"""Captured second backward passes on a GPU: the numbers are those of double backward, whatever ran before."""

from __future__ import annotations

import pytest
import torch
from engine_models import kinds, settled

from hessent.curvature.blocks import Block, resolve_blocks
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.replayed import ReplayedBackward
from hessent.curvature.problem import Problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
KINDS = kinds()
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


def problem_of(name: str, dtype: torch.dtype) -> Problem:
    kind = KINDS[name]
    return Problem(settled(kind), kind.loss, [(kind.inputs, kind.targets)], device="cuda", dtype=dtype)


def blocks_of(problem: Problem) -> tuple[Block, ...]:
    return resolve_blocks(problem.model, problem.parameters, ["layer"], full=True)


def directions_of(block: Block, problem: Problem, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(block.size, 3, generator=generator).to(problem.device, problem.dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", KINDS)
def test_replays_agree_with_double_backward_block_by_block_in_any_order(name, dtype):
    problem = problem_of(name, dtype)
    inputs, targets = next(problem.micro_batches())
    retained = DoubleBackward(problem, inputs, targets)  # on the default stream, and alive during the captures
    captured = ReplayedBackward(problem, inputs, targets)
    blocks = blocks_of(problem)
    scale = float(retained.products(blocks[-1], directions_of(blocks[-1], problem)).norm())
    for seed, order in enumerate([blocks, blocks[::-1], blocks]):
        for block in order:
            V = directions_of(block, problem, seed)
            difference = captured.products(block, V) - retained.products(block, V)
            assert float(difference.norm()) <= TOLERANCE[dtype] * scale, block.name


def test_earlier_products_are_not_overwritten_by_later_ones():
    problem = problem_of("ViT, class token", torch.float64)
    captured = ReplayedBackward(problem, *next(problem.micro_batches()))
    block = blocks_of(problem)[-1]
    first = captured.products(block, directions_of(block, problem))
    kept = first.clone()
    captured.products(block, directions_of(block, problem, seed=1))
    assert torch.equal(first, kept)


def test_memory_is_given_back_with_the_object():
    problem = problem_of("ResNet, two stages", torch.float32)
    inputs, targets = next(problem.micro_batches())
    block = blocks_of(problem)[-1]
    ReplayedBackward(problem, inputs, targets).products(block, directions_of(block, problem))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        ReplayedBackward(problem, inputs, targets).products(block, directions_of(block, problem))
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before


def test_gradients_are_those_of_double_backward():
    problem = problem_of("GPT, tied", torch.float64)
    inputs, targets = next(problem.micro_batches())
    expected = DoubleBackward(problem, inputs, targets).gradients
    for name, gradient in ReplayedBackward(problem, inputs, targets).gradients.items():
        torch.testing.assert_close(gradient, expected[name])
