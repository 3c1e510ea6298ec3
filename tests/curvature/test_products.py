"""Products against three oracles: closed forms, dense autograd in float64, differences of gradients."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from cases import Case, cases, columns_of, dense_hessian, seeded
from torch import nn

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.problem import Problem
from hessent.eigensolver.dense import FormingMatrix
from hessent.eigensolver.requests import answer

CASES = {case.name: case for case in cases()}
WHOLE, RAGGED, SINGLE = (9,), (4, 4, 1), (1,) * 9


@functools.cache
def hessian_of(name: str) -> torch.Tensor:
    case = CASES[name]
    return dense_hessian(seeded(case.model), case.inputs, case.targets, case.mean_loss)[0]


def engine_for(
    case: Case, *sizes: int, dtype: torch.dtype = torch.float64, engine: str = "retained", memory: int = 2**30
) -> HessianEngine:
    problem = Problem(seeded(case.model), case.loss, case.batches(*sizes), dtype=dtype)
    problem.measure_loss()
    return HessianEngine(problem, memory=memory, engine=engine)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sizes", [WHOLE, RAGGED, SINGLE], ids=["whole", "ragged", "single"])
@pytest.mark.parametrize("engine", ["retained", "batched"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_every_block_agrees_with_dense_autograd(name, sizes, engine, dtype, tolerance):
    case, hessian = CASES[name], hessian_of(name)
    served = engine_for(case, *sizes, dtype=dtype, engine=engine)
    problem = served.problem
    generator = torch.Generator().manual_seed(0)
    blocks = resolve_blocks(problem.model, problem.parameters, ["layer", "module", "parameter"], full=True)
    requests = [(block, torch.randn(block.size, 3, generator=generator, dtype=torch.float64)) for block in blocks]
    for (block, V), found in zip(requests, served.products(requests), strict=True):
        rows = columns_of(problem.model, block.parameters)
        expected = hessian[rows][:, rows] @ V
        if float(expected.norm()) < 1e-12 * float(hessian.norm()):
            assert float(found.total.norm()) < 1e-6 * float(hessian.norm()), block.name
        else:
            assert relative(found.total, expected) < tolerance, block.name


@pytest.mark.parametrize("name", CASES)
def test_graphs_rebuilt_on_every_pass_give_the_same_products(name):
    kept, rebuilt = engine_for(CASES[name], *RAGGED), engine_for(CASES[name], *RAGGED, memory=0)
    assert kept.keeps_graphs
    assert not rebuilt.keeps_graphs
    block = resolve_blocks(kept.problem.model, kept.problem.parameters, ["full"], full=True)[0]
    V = torch.randn(block.size, 2, dtype=torch.float64)
    expected = kept.products([(block, V)])[0].total
    kept_again = kept.products([(block, V)])[0].total
    assert torch.equal(expected, kept_again)
    assert relative(rebuilt.products([(block, V)])[0].total, expected) < 1e-13


@pytest.mark.parametrize("name", CASES)
def test_exact_block_has_the_eigenvalues_of_the_principal_submatrix(name):
    engine = engine_for(CASES[name], *RAGGED)
    problem = engine.problem
    for block in resolve_blocks(problem.model, problem.parameters, ["layer"], full=False):
        formed = answer(FormingMatrix(block.size, device="cpu", keep_groups=False).form(), engine.operator(block))
        found = formed.eigenvalues()
        rows = columns_of(problem.model, block.parameters)
        expected = torch.linalg.eigvalsh(hessian_of(name)[rows][:, rows]).numpy()
        assert abs(found - expected).max() <= 1e-10 * abs(expected).max()


def test_linear_regression_has_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(9, 4, generator=generator), torch.randn(9, 1, generator=generator)
    problem = Problem(nn.Linear(4, 1, bias=False), "mse", [(X[:8], y[:8]), (X[8:], y[8:])], dtype=torch.float64)
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained")
    block = resolve_blocks(problem.model, problem.parameters, ["full"], full=True)[0]
    found = engine.operator(block).matmat(torch.eye(4, dtype=torch.float64))
    assert relative(found, 2 / 9 * X.double().T @ X.double()) < 1e-12


def test_softmax_regression_has_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    X, labels = torch.randn(7, 3, generator=generator), torch.randint(0, 4, (7,), generator=generator)
    model = nn.Linear(3, 4, bias=False)
    problem = Problem(model, "cross-entropy", [(X[:5], labels[:5]), (X[5:], labels[5:])], dtype=torch.float64)
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained")
    block = resolve_blocks(problem.model, problem.parameters, ["full"], full=True)[0]
    found = engine.operator(block).matmat(torch.eye(12, dtype=torch.float64))
    x = X.double()
    p = torch.softmax(x @ model.weight.detach().double().T, dim=1)
    expected = sum(
        torch.kron(torch.diag(p[i]) - torch.outer(p[i], p[i]), torch.outer(x[i], x[i])) for i in range(7)
    )
    assert relative(found, expected / 7) < 1e-12


def test_a_loss_linear_in_a_block_has_zero_curvature_there():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift, self.scale = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + self.shift).sum(dim=1) + (x * self.scale**2).sum(dim=1)

    def linear(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).mean()

    X = torch.ones(3, 2)
    problem = Problem(Mixed(), linear, [(X, torch.zeros(3))], dtype=torch.float64)
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained")
    shift, scale = resolve_blocks(problem.model, problem.parameters, ["parameter"], full=False)
    found = engine.products([(b, torch.eye(2, dtype=torch.float64)) for b in (shift, scale)])
    assert torch.equal(found[0].total, torch.zeros(2, 2, dtype=torch.float64))
    assert torch.equal(found[1].total, 2 * torch.eye(2, dtype=torch.float64))


def test_the_callers_model_is_left_as_it_was():
    case = CASES["convolution+batchnorm"]
    model = seeded(case.model).float().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    problem = Problem(model, case.loss, case.batches(*RAGGED))
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained")
    block = resolve_blocks(problem.model, problem.parameters, ["full"], full=True)[0]
    engine.operator(block).matvec(torch.randn(block.size))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_and_batch_statistics_do_not_enter():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)).train()
    X, y = torch.randn(6, 4), torch.randn(6, 2)
    problem = Problem(model, "mse", [(X, y)], dtype=torch.float64)
    problem.measure_loss()
    engine = HessianEngine(problem, memory=0, engine="retained")
    block = resolve_blocks(problem.model, problem.parameters, ["full"], full=True)[0]
    v = torch.randn(block.size, dtype=torch.float64)
    assert torch.equal(engine.operator(block).matvec(v), engine.operator(block).matvec(v))


@pytest.mark.parametrize("scale", [1e-14, 1e4])
def test_products_scale_with_the_loss(scale):
    case = CASES["mlp, mse"]

    def scaled(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return scale * nn.functional.mse_loss(outputs, targets)

    problem = Problem(seeded(case.model), scaled, case.batches(*RAGGED), dtype=torch.float64)
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained")
    block = resolve_blocks(problem.model, problem.parameters, ["full"], full=True)[0]
    v = torch.randn(block.size, dtype=torch.float64)
    assert relative(engine.operator(block).matvec(v), scale * hessian_of(case.name) @ v) < 1e-10


def test_auto_settles_on_an_engine_and_counts_graph_memory():
    engine = engine_for(CASES["layernorm+attention"], *RAGGED, engine="auto")
    block = resolve_blocks(engine.problem.model, engine.problem.parameters, ["full"], full=True)[0]
    engine.choose([(block, 10_000)])
    assert engine.engine in ("retained", "batched", "forward", "linearized")
    assert engine.engine in engine.why
    whole = engine_for(CASES["layernorm+attention"], *WHOLE)
    # Bytes grow with the samples, whichever way they are cut (parameters are counted in each graph).
    assert 0.4 * whole.graph_bytes < engine.graph_bytes < 2.5 * whole.graph_bytes


def test_rebuilt_graphs_are_released_from_the_inputs_on_and_wholly_after_the_last_block(monkeypatch):
    engine = engine_for(CASES["layernorm+attention"], *WHOLE, engine="lockstep")
    problem = engine.problem
    blocks = resolve_blocks(problem.model, problem.parameters, ["layer"], full=True)
    kept = []
    release = DoubleBackward.release

    def released(self, parameters):
        kept.append(frozenset(parameters))
        release(self, parameters)
        assert set(self.gradients) == set(parameters)

    monkeypatch.setattr(DoubleBackward, "release", released)
    generator = torch.Generator().manual_seed(0)
    requests = [(block, torch.randn(block.size, 1, generator=generator, dtype=torch.float64)) for block in blocks]
    backwards = engine.products(requests[::-1])[::-1]
    assert all(later < earlier for earlier, later in itertools.pairwise(kept[1:]))
    assert kept[-1] == frozenset()
    for (block, V), found in zip(requests, backwards, strict=True):
        rows = columns_of(problem.model, block.parameters)
        assert relative(found.total, hessian_of("layernorm+attention")[rows][:, rows] @ V) < 1e-10
