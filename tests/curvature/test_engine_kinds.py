"""Every engine on every kind of layer, against differences of gradients: no engine is ever silently wrong."""

from __future__ import annotations

import functools
from functools import partial

import pytest
import torch
from engine_models import Kind, kinds, settled
from torch import Tensor, nn

from hessent.curvature.blocks import Block
from hessent.curvature.containers import map_tensors
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.exclusions import refuse_batches
from hessent.curvature.engines.forward import ForwardOverReverse
from hessent.curvature.engines.linearized import Linearized
from hessent.curvature.engines.replayed import ReplayedBackward
from hessent.curvature.problem import Problem
from hessent.errors import ComputationError

KINDS = kinds()
ENGINES = {
    "retained": DoubleBackward,
    "batched": partial(DoubleBackward, at_once=8),
    "forward": ForwardOverReverse,
    "linearized": Linearized,
}
# (engine, kind): a part of what it says when it refuses
UNSUPPORTED = {
    ("batched", "GroupNorm"): "group_norm",
    ("forward", "custom function"): "autograd.Function",
    ("linearized", "custom function"): "autograd.Function",
    ("forward", "checkpointing"): "saved tensor hooks",
    ("linearized", "checkpointing"): "saved tensor hooks",
    ("forward", "grid sampling"): "grid_sampler",
    ("linearized", "grid sampling"): "grid_sampler",
}
SUPPORTED = [(engine, kind) for kind in KINDS for engine in ENGINES if (engine, kind) not in UNSUPPORTED]
IN_FLOAT32 = ("mlp, gelu", "ResNet, two stages", "ViT, class token", "GPT, tied", "LSTM", "RMSNorm")
STEP = 1e-6
MIXTURE = torch.randn(2, 9, generator=torch.Generator().manual_seed(7), dtype=torch.float64)  # 8 + 1 at once


def problem_of(kind: Kind, dtype: torch.dtype = torch.float64) -> Problem:
    return Problem(settled(kind), kind.loss, [(kind.inputs, kind.targets)], dtype=dtype)


def engine_of(engine: str, problem: Problem):
    return ENGINES[engine](problem, *next(problem.micro_batches()))


def blocks_of(problem: Problem) -> list[Block]:
    """All parameters, all but the last, all but the first, one in the middle."""
    names = list(problem.parameters)
    middle = len(names) // 2
    chosen = [names, names[:-1], names[1:], names[middle : middle + 1]]
    sizes = [sum(problem.parameters[name].numel() for name in members) for members in chosen]
    return [Block(str(i), tuple(names), size) for i, (names, size) in enumerate(zip(chosen, sizes, strict=True))]


def directions_of(block: Block) -> Tensor:
    return torch.randn(block.size, 2, generator=torch.Generator().manual_seed(block.size), dtype=torch.float64)


@functools.cache
def expected_of(name: str) -> list[Tensor]:
    """Products of every block with its directions, by an oracle that shares no code with the engines."""
    kind = KINDS[name]
    model = settled(kind)
    inputs = map_tensors(kind.inputs, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    oracle = by_double_backward if kind.gradient_is_cut else by_differences
    problem = problem_of(kind)
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        return [oracle(problem, model, inputs, block, directions_of(block)) for block in blocks_of(problem)]


def gradient_of(problem: Problem, model: nn.Module, inputs, block: Block, *, create_graph: bool = False) -> Tensor:
    named = dict(model.named_parameters())
    outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    total = problem.loss.sum(outputs, next(problem.micro_batches())[1])
    parts = torch.autograd.grad(
        total, [named[name] for name in block.parameters], create_graph=create_graph, materialize_grads=True
    )
    return torch.cat([part.reshape(-1) for part in parts])


def by_differences(problem: Problem, model: nn.Module, inputs, block: Block, V: Tensor) -> Tensor:
    """Central differences of fourth order of the gradient."""
    parameters = [dict(model.named_parameters())[name] for name in block.parameters]
    start = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])

    def gradient(theta: Tensor) -> Tensor:
        with torch.no_grad():
            for parameter, piece in zip(parameters, theta.split([p.numel() for p in parameters]), strict=True):
                parameter.copy_(piece.view_as(parameter))
        return gradient_of(problem, model, inputs, block)

    columns = [
        (8 * (gradient(start + h) - gradient(start - h)) - (gradient(start + 2 * h) - gradient(start - 2 * h)))
        / (12 * STEP)
        for h in (STEP * V).T
    ]
    gradient(start)
    return torch.stack(columns, dim=1)


def by_double_backward(problem: Problem, model: nn.Module, inputs, block: Block, V: Tensor) -> Tensor:
    """Entry by entry: where a model cuts its gradient, the gradient's differences are no Hessian."""
    parameters = [dict(model.named_parameters())[name] for name in block.parameters]
    gradient = gradient_of(problem, model, inputs, block, create_graph=True)
    rows = [
        torch.cat(
            [r.reshape(-1) for r in torch.autograd.grad(g, parameters, retain_graph=True, materialize_grads=True)]
        )
        for g in gradient
    ]
    return torch.stack(rows) @ V


def scale_of(name: str) -> float:
    return float(expected_of(name)[0].norm())


@pytest.mark.parametrize(("engine", "name"), SUPPORTED)
def test_every_block_agrees_with_differences_of_gradients_and_is_symmetric(engine, name):
    problem = problem_of(KINDS[name])
    micro_batch = engine_of(engine, problem)
    for block, expected in zip(blocks_of(problem), expected_of(name), strict=True):
        V = directions_of(block) @ MIXTURE
        found = micro_batch.products(block, V)
        assert float((found - expected @ MIXTURE).norm()) <= 1e-8 * scale_of(name), block.parameters
        inner = V.T @ found
        assert float((inner - inner.T).abs().max()) <= 1e-12 * scale_of(name) * float(V.norm())


@pytest.mark.parametrize("name", IN_FLOAT32)
@pytest.mark.parametrize("engine", ENGINES)
def test_single_precision_is_as_good_as_its_rounding(engine, name):
    problem = problem_of(KINDS[name], torch.float32)
    block = blocks_of(problem)[0]
    found = engine_of(engine, problem).products(block, directions_of(block).float())
    assert float((found.double() - expected_of(name)[0]).norm()) <= 1e-4 * scale_of(name)


@pytest.mark.parametrize(("engine", "name"), UNSUPPORTED)
def test_what_an_engine_cannot_do_it_refuses(engine, name):
    problem = problem_of(KINDS[name])
    block = blocks_of(problem)[0]
    with pytest.raises((RuntimeError, ValueError, NotImplementedError, TypeError), match=UNSUPPORTED[engine, name]):
        engine_of(engine, problem).products(block, directions_of(block) @ MIXTURE)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["mlp, silu", "GPT, tied", "LSTM", "unused parameters"])
def test_gradients_are_those_of_autograd(engine, name):
    problem = problem_of(KINDS[name])
    parameters = list(problem.parameters.values())
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        total, _ = problem.loss_sum(*next(problem.micro_batches()))
    expected = torch.autograd.grad(total, parameters, materialize_grads=True)
    found = engine_of(engine, problem).gradients
    assert list(found) == list(problem.parameters)
    for part, reference in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(part, reference)


@pytest.mark.parametrize("engine", ENGINES)
def test_products_change_neither_parameters_nor_buffers_nor_what_comes_next(engine):
    problem = problem_of(KINDS["ResNet, two stages"])
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    micro_batch, block = engine_of(engine, problem), blocks_of(problem)[0]
    V = directions_of(block)
    first = micro_batch.products(block, V)
    micro_batch.products(block, V + 1)
    assert torch.equal(micro_batch.products(block, V), first)
    assert all(torch.equal(value, before[name]) for name, value in problem.model.state_dict().items())
    assert all(parameter.grad is None for parameter in problem.model.parameters())


@pytest.mark.parametrize("affine", [True, False])
def test_batched_second_backward_passes_refuse_group_norm(affine):
    model = nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(1, 4, affine=affine), nn.Tanh())
    gradients = torch.autograd.grad(model(torch.randn(2, 3)).sum(), list(model.parameters()), create_graph=True)
    with pytest.raises(NotImplementedError, match="group_norm"):
        refuse_batches(gradients)
    linear = torch.autograd.grad(model[0](torch.randn(2, 3)).square().sum(), model[0].weight, create_graph=True)
    refuse_batches(linear)


def test_an_embedding_whose_gradient_is_no_derivative_is_refused_by_forward_engines():
    model = nn.Sequential(nn.Embedding(5, 3, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(6, 2))
    problem = Problem(model, "mse", [(torch.tensor([[1, 1], [2, 3]]), torch.randn(2, 2))], dtype=torch.float64)
    block = blocks_of(problem)[0]
    for engine in ("forward", "linearized"):
        with pytest.raises(NotImplementedError, match="scale_grad_by_freq"):
            engine_of(engine, problem).products(block, directions_of(block))


def test_a_hook_that_changes_gradients_is_refused_by_forward_engines():
    class Hooked(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            outputs = torch.tanh(super().forward(x))
            outputs.register_hook(lambda gradient: 2 * gradient)
            return outputs

    problem = Problem(Hooked(3, 2), "mse", [(torch.randn(2, 3), torch.randn(2, 2))], dtype=torch.float64)
    block = blocks_of(problem)[0]
    for engine in ("forward", "linearized"):
        with pytest.raises(NotImplementedError, match="hook"):
            engine_of(engine, problem).products(block, directions_of(block))


def test_captured_passes_need_a_gpu():
    problem = problem_of(KINDS["mlp, relu"])
    with pytest.raises(ComputationError, match="cpu"):
        ReplayedBackward(problem, *next(problem.micro_batches()))
