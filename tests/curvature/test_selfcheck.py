"""The operator's check passes what is right and refuses what is wrong."""

from __future__ import annotations

import pytest
import torch
from cases import cases, seeded
from torch import nn

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.containers import HalvedBatches
from hessent.curvature.engine import HessianEngine
from hessent.curvature.problem import Problem
from hessent.curvature.selfcheck import (
    PRODUCTS_PER_BLOCK,
    OperatorCheck,
    check_derivative,
    measure_noise,
    require_sound,
)
from hessent.curvature.support import refuse_unsupported
from hessent.errors import ArchitectureError, DataError, NonFiniteError, SelfCheckError


def checked(problem: Problem) -> OperatorCheck:
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained")
    recut = HessianEngine(problem.with_batches(HalvedBatches(problem.batches)), memory=0, engine="retained")
    blocks = resolve_blocks(problem.model, problem.parameters, ["layer"], full=True)
    generator = torch.Generator().manual_seed(0)
    check = measure_noise(engine, recut, blocks, lambda _: generator)
    check.derivative = check_derivative(problem, generator)
    return check


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
@pytest.mark.parametrize(("dtype", "noise"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_sound_operators_pass(case, dtype, noise):
    problem = Problem(seeded(case.model), case.loss, case.batches(4, 4, 1), dtype=dtype)
    check = checked(problem)
    require_sound(check, dtype)
    assert check.derivative < 1e-4
    assert 0 < max(check.noise.values()) < noise


class _Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.linear(x))
        return hidden * (1 + 0.1 * torch.rand_like(hidden))


class _HalfPrecision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x)).bfloat16().to(x.dtype)


class _Wrong(torch.autograd.Function):
    """x², whose backward pass forgets to be differentiable: the second derivative is silently lost."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2 * ctx.saved_tensors[0].detach()


class _LosesCurvature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Wrong.apply(self.linear(x))


@pytest.mark.parametrize("model", [_Noisy, _HalfPrecision, _LosesCurvature])
def test_wrong_operators_are_refused(model):
    torch.manual_seed(0)
    problem = Problem(model(), "mse", [(torch.randn(12, 4), torch.randn(12, 2))])
    with pytest.raises(SelfCheckError):
        require_sound(checked(problem), torch.float32)


def test_weight_norm_is_refused_by_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    with pytest.raises(ArchitectureError, match="weight_norm") as caught:
        refuse_unsupported(model)
    assert "1:" in str(caught.value)


def test_layers_without_second_derivative_are_all_named():
    with pytest.raises(ArchitectureError) as caught:
        refuse_unsupported(nn.Sequential(nn.Hardsigmoid(), nn.Linear(2, 2), nn.EmbeddingBag(3, 2)))
    assert "Hardsigmoid" in str(caught.value)
    assert "EmbeddingBag" in str(caught.value)


def test_a_non_finite_loss_names_the_micro_batch():
    X = torch.randn(6, 4)
    X[4] = 1e30
    problem = Problem(nn.Linear(4, 2), "mse", [(X[:3], torch.zeros(3, 2)), (X[3:], torch.zeros(3, 2))])
    with pytest.raises(NonFiniteError, match="micro-batch 1"):
        problem.measure_loss()


def test_data_without_a_single_item_is_refused():
    problem = Problem(nn.Linear(4, 2), "mse", [])
    with pytest.raises(DataError):
        problem.measure_loss()


def test_halved_batches_hold_the_same_samples():
    X, y = torch.arange(14.0).reshape(7, 2), torch.arange(7)
    parts = list(HalvedBatches([(X[:6], y[:6]), (X[6:], y[6:])]))
    assert [len(part) for part, _ in parts] == [4, 2, 1]
    assert torch.equal(torch.cat([part for part, _ in parts]), X)
    assert torch.equal(torch.cat([part for _, part in parts]), y)


def _scaled_by(factor: float) -> HessianEngine:
    """A linear model whose matrix is known to be that of factor 1, times the factor."""

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return factor * nn.functional.mse_loss(outputs, targets)

    generator = torch.Generator().manual_seed(2)
    X, y = torch.randn(12, 5, generator=generator), torch.randn(12, 1, generator=generator)
    problem = Problem(nn.Linear(5, 1), loss, [(X, y)], dtype=torch.float64)
    problem.measure_loss()
    return HessianEngine(problem, memory=2**30, engine="retained")


def test_the_noise_floor_is_the_root_mean_square_eigenvalue_of_the_noise():
    engine, recut = _scaled_by(1.0), _scaled_by(1.001)
    blocks = resolve_blocks(engine.problem.model, engine.problem.parameters, ["parameter"], full=True)
    generator = torch.Generator().manual_seed(0)
    checks = [measure_noise(engine, recut, blocks, lambda _: generator) for _ in range(400)]
    for block in blocks:
        matrix = engine.operator(block).matmat(torch.eye(block.size, dtype=torch.float64))
        expected = 1e-3 * float(matrix.norm()) / block.size**0.5
        found = torch.tensor([check.noise_floor[block.name] for check in checks])
        assert float(found.square().mean().sqrt()) == pytest.approx(expected, rel=0.1), block.name
        assert all(check.noise[block.name] == pytest.approx(1e-3, rel=1e-6) for check in checks)


def test_the_check_counts_the_products_it_asks_for():
    engine, recut = _scaled_by(1.0), _scaled_by(1.0)
    blocks = resolve_blocks(engine.problem.model, engine.problem.parameters, ["parameter"], full=True)
    asked = dict.fromkeys((block.name for block in blocks), 0)
    for served in (engine, recut):
        original = served.products

        def counting(requests, original=original):
            for block, columns in requests:
                asked[block.name] += columns.shape[1]
            return original(requests)

        served.products = counting
    check = measure_noise(engine, recut, blocks, lambda name: torch.Generator().manual_seed(0))
    assert check.matvecs == asked == dict.fromkeys(asked, PRODUCTS_PER_BLOCK)
