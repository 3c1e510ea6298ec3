"""The unit-diagonal form against dense matrices by autograd in float64."""

from __future__ import annotations

import math

import pytest
import torch
from test_matrices import NOT_HESSIAN, dense, problem_of, whole_matrix
from torch import nn

from hessent.curvature import diagonal
from hessent.curvature.diagonal import unit_diagonal
from hessent.curvature.matrices.kinds import resolve_curvature
from hessent.curvature.problem import Problem
from hessent.errors import DataError, UsageError

NAMES = ("convolution+batchnorm", "layernorm+attention", "gpt, tied head, ignored tokens", "mlp, mse")


def flat(metric, problem):
    return torch.cat([metric.scales[name].reshape(-1) for name in problem.parameters])


@pytest.mark.parametrize("curvature", NOT_HESSIAN)
@pytest.mark.parametrize("name", NAMES)
def test_the_diagonal_is_that_of_the_dense_matrix(name, curvature):
    problem = problem_of(name, curvature, dtype=torch.float32)
    expected = dense(name, curvature).diagonal()
    metric = unit_diagonal(problem, seed=0)
    assert metric.draws == 0
    assert metric.error == 0.0
    scales = flat(metric, problem)
    alive = scales > 0
    assert torch.allclose(scales[alive] ** -2, expected[alive], rtol=1e-8, atol=0)
    assert bool((expected[~alive] <= 1e-20 * expected.max()).all())
    assert sum(metric.dead.values()) == int((~alive).sum())
    if name.startswith("layernorm"):  # attention does not change with the bias of its keys, a third of 24
        assert sum(metric.dead.values()) == 8


@pytest.mark.parametrize("name", ["convolution+batchnorm", "mlp, mse"])
def test_seen_through_it_the_diagonal_is_one_and_the_trace_is_n(name):
    problem = problem_of(name, "ggn")
    metric = unit_diagonal(problem, seed=0)
    R = whole_matrix(problem.with_metric(metric))
    C = dense(name, "ggn")
    alive = problem.num_params - sum(metric.dead.values())
    assert float(R.trace()) == pytest.approx(alive, rel=1e-10)
    d = C.diagonal().clamp_min(1e-300).rsqrt() * (flat(metric, problem) > 0)
    assert torch.allclose(R, d[:, None] * C * d, atol=1e-8)


def test_dead_parameters_are_counted_and_their_rows_are_zero():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].bias[1] = -100.0  # never active: its 4 parameters do nothing, nor do the 2 weights behind it
    problem = Problem(model, "cross-entropy", [(torch.randn(7, 3), torch.tensor([0, 1, 0, 1, 1, 0, 1]))])
    problem = problem.with_curvature(resolve_curvature("ggn"))
    problem.measure_loss()
    metric = unit_diagonal(problem, seed=0)
    assert metric.dead == {"0.weight": 3, "0.bias": 1, "2.weight": 2}
    R = whole_matrix(problem.with_metric(metric))
    assert int((R.abs().sum(0) == 0).sum()) == 6
    assert float(R.trace()) == pytest.approx(problem.num_params - 6, rel=1e-5)
    with torch.no_grad():
        model[0].weight.zero_(), model[0].bias.fill_(-1.0), model[2].bias.requires_grad_(False)
    dead = Problem(model, "cross-entropy", [(torch.randn(3, 3), torch.tensor([0, 1, 0]))])
    with pytest.raises(DataError, match="influence"):
        unit_diagonal(dead.with_curvature(resolve_curvature("ggn")), seed=0)


@pytest.mark.parametrize("curvature", ["ggn", "empirical-fisher"])
def test_drawn_roots_are_unbiased_and_tell_their_error(curvature, monkeypatch):
    name = "gpt, tied head, ignored tokens"
    problem = problem_of(name, curvature)
    expected = dense(name, curvature).diagonal()
    monkeypatch.setattr(diagonal, "_MOST_PASSES", 1)
    monkeypatch.setattr(diagonal, "_LEAST_DRAWS", 40)
    metric = unit_diagonal(problem, seed=3)
    assert metric.draws == 40
    scales = flat(metric, problem)
    alive = scales > 0
    relative = scales[alive] ** -2 / expected[alive] - 1
    error = math.sqrt(float(relative.square().mean()))
    assert 0.5 < metric.error / error < 2.0
    assert abs(float(relative.mean())) < 0.5 * metric.error


def test_what_has_no_positive_diagonal_is_refused():
    problem = problem_of("mlp, mse", "hessian")
    with pytest.raises(UsageError, match="hessian"):
        unit_diagonal(problem, seed=0)
    with pytest.raises(UsageError, match="fisher-samples"):
        unit_diagonal(problem_of("mlp, mse", "fisher", fisher_samples=2), seed=0)

    def own(outputs, targets):
        return (outputs - targets).abs().pow(1.5).mean()

    x, y = torch.randn(4, 2), torch.randn(4, 2)
    mine = Problem(nn.Linear(2, 2), own, [(x, y)]).with_curvature(resolve_curvature("ggn"))
    with pytest.raises(UsageError, match="square root"):
        unit_diagonal(mine, seed=0)
