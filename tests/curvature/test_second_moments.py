"""The empirical Fisher matrix from single gradients, against its products and against outer products one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hessent
from hessent.curvature import second_moments
from hessent.curvature.problem import Problem
from hessent.errors import NonFiniteError


def problem_of(count=20, sizes=(7, 7, 6), dtype=torch.float64):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3))
    x, y = torch.randn(count, 4), torch.randint(0, 3, (count,))
    return Problem(model, "cross-entropy", list(zip(x.split(sizes), y.split(sizes), strict=True)), dtype=dtype)


def gradients(problem):
    rows = []
    for inputs, targets in problem.batches:
        for x, y in zip(inputs.double(), targets, strict=True):
            problem.model.zero_grad()
            nn.functional.cross_entropy(problem.model(x[None]), y[None]).backward()
            rows.append(torch.cat([p.grad.reshape(-1) for p in problem.model.parameters()]))
    return torch.stack(rows)


def eigenvalues(problem, **options):
    return hessent.spectrum(problem, curvature="empirical-fisher", blocks="layer", **options)


@pytest.mark.parametrize("held", [1000, 5, 1])  # all at once; in four parts; each by itself
@pytest.mark.parametrize("groups", [True, False])
def test_every_block_is_exact_without_a_product(held, groups, monkeypatch):
    monkeypatch.setattr(second_moments, "_AT_ONCE", min(held, 3))
    monkeypatch.setattr(second_moments, "_COLUMNS", 11)
    problem = problem_of()
    rows = gradients(problem)
    monkeypatch.setattr(
        "hessent.curvature.second_moments.SecondMoments.__init__",
        _with_memory(held * problem.num_params * 8, second_moments.SecondMoments.__init__),
    )
    found = eigenvalues(problem, data_error=groups)
    start = 0
    for block in found.blocks[:-1]:
        part = rows[:, start : start + block.size]
        start += block.size
        expected = torch.linalg.eigvalsh(part.T @ part / 20).numpy()
        np.testing.assert_allclose(block.eigenvalues, expected, atol=1e-13 * expected[-1])
        assert block.status.startswith("exact, from")
        assert block.num_matvecs == 4  # the operator's check
    full = found.block("full")
    expected = torch.linalg.eigvalsh(rows.T @ rows / 20).numpy()
    np.testing.assert_allclose(full.eigenvalues, expected, atol=1e-13 * expected[-1])
    assert (full.eigenvalues[:-20] == 0).all()
    assert "Gram matrix of 20 gradients" in full.status
    assert (full.groups is not None) is groups


def _with_memory(memory, init):
    def changed(self, *arguments, **named):
        init(self, *arguments, **{**named, "memory": memory})
        self._rows = max(memory // (self._problem.num_params * 8), 1)

    return changed


def test_what_is_left_without_each_group_of_the_data():
    problem = problem_of()
    rows = gradients(problem)
    groups = eigenvalues(problem).block("full").groups
    assert list(groups.items) == [5, 5, 5, 5]
    for group, values in enumerate(groups.left_out):
        kept = np.delete(np.arange(20), slice(5 * group, 5 * group + 5))
        expected = torch.linalg.eigvalsh(rows[kept].T @ rows[kept] / 15).numpy()
        np.testing.assert_allclose(values, expected, atol=1e-13 * expected[-1])
        own = rows[5 * group : 5 * group + 5].square().sum() / 5
        assert groups.traces[group] == pytest.approx(float(own), rel=1e-12)


def test_the_same_as_from_products():
    problem = problem_of()
    direct = eigenvalues(problem)
    operator = hessent.operator(problem, curvature="empirical-fisher")
    matrix = operator.matmat(torch.eye(operator.size, dtype=torch.float64))
    expected = torch.linalg.eigvalsh(matrix).numpy()
    np.testing.assert_allclose(direct.block("full").eigenvalues, expected, atol=1e-12 * expected[-1])


def test_products_are_for_those_who_ask_and_for_many_samples():
    assert eigenvalues(problem_of(), method="lanczos").block("full").method == "lanczos"
    assert eigenvalues(problem_of(), only="trace").block("full").method == "hutch++"
    assert "gradients" not in eigenvalues(problem_of(2049, (2049,))).block("full").status


def test_a_gradient_that_is_not_finite_names_its_sample():
    problem = problem_of(dtype=torch.float32)
    problem.measure_loss()
    inputs, _ = problem.batches[1]
    inputs[2] = 3e38  # the loss is finite, its gradient is not
    with pytest.raises(NonFiniteError):
        eigenvalues(problem, verify=False)
