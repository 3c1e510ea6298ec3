"""The Hessian split into its Gauss-Newton part and the rest, against dense matrices by autograd in float64."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from cases import cases, columns_of, dense_hessian, seeded
from torch import nn
from torch.func import functional_call, jacrev

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.problem import Problem
from hessent.eigensolver.probes import gaussian_vectors
from hessent.measures.split import split_measures
from hessent.pipeline.residual_split import as_facts, is_whole, split_from, split_hessian, split_matvecs
from hessent.spectra.split import MOMENTS, BlockSplit

CASES = {case.name: case for case in cases()}
NAMES = ("convolution+batchnorm", "gpt, tied head, ignored tokens", "mlp, mse")


def dense_ggn(case):
    """(1/N) Σ Jᵀ (∂²ℓ/∂f²) J by dense Jacobians of all outputs."""
    model = seeded(case.model)
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    x = case.inputs.double() if case.inputs.is_floating_point() else case.inputs

    def outputs(values):
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            return functional_call(model, values, (x,), tie_weights=True)

    f, J = outputs(named).detach(), jacrev(outputs)(named)
    J = torch.cat([J[name].reshape(f.numel(), -1) for name in named], dim=1)
    targets = case.targets.double() if case.loss == "mse" else case.targets
    M = torch.autograd.functional.hessian(lambda flat: case.mean_loss(flat.view_as(f), targets), f.reshape(-1))
    return J.T @ M @ J


@functools.cache
def dense(name):
    case = CASES[name]
    targets = case.targets.double() if case.loss == "mse" else case.targets
    hessian, _ = dense_hessian(seeded(case.model), case.inputs, targets, case.mean_loss)
    return hessian, dense_ggn(case)


def problem_of(name, dtype=torch.float64, sizes=(4, 4, 1)):
    case = CASES[name]
    problem = Problem(seeded(case.model), case.loss, case.batches(*sizes), dtype=dtype)
    problem.measure_loss()
    return problem


def split_of(problem, probes=12, *, seed=0, memory=2**30, noise_floor=None):
    blocks = resolve_blocks(problem.model, problem.parameters, ["parameter"], full=True)
    return blocks, split_hessian(
        problem, blocks, probes=probes, seed=seed, noise_floor=noise_floor or {}, memory=memory
    )


def truths(H, G):
    R = H - G
    found = {}
    for name, matrix in (("hessian", H), ("ggn", G), ("residual", R)):
        found[f"trace_{name}"], found[f"norm_{name}"] = float(matrix.trace()), float(matrix.norm())
    return found | {"cosine": float((G * R).sum() / (G.norm() * R.norm()))}


@pytest.mark.parametrize(
    ("name", "memory"), [(name, 2**30) for name in NAMES] + [("mlp, mse", 1)], ids=[*NAMES, "piece by piece"]
)
def test_blocks_formed_whole_are_exact(name, memory):
    problem = problem_of(name, sizes=(9,) if memory > 1 else (4, 4, 1))
    H, G = dense(name)
    blocks, split = split_of(problem, probes=5 if name.startswith("gpt") else 15, memory=memory)
    assert sum(found.exact for found in split) > 1
    for block, found in zip(blocks, split, strict=True):
        if not found.exact:
            continue
        rows = columns_of(problem.model, block.parameters)
        expected = truths(H[rows][:, rows], G[rows][:, rows])
        scale = float(H.norm())
        for measure, estimate in split_measures(found).items():
            if estimate.value is None:
                assert expected["norm_residual"] < 1e-13 * expected["norm_hessian"], block.name  # rounding alone
                continue
            assert estimate.exact
            assert estimate.value == pytest.approx(expected[measure], rel=1e-9, abs=1e-10 * scale), block.name


@pytest.mark.parametrize("name", NAMES)
def test_each_probe_gives_the_products_of_the_dense_matrices(name):
    problem = problem_of(name)
    H, G = dense(name)
    _, split = split_of(problem, probes=5)
    whole = split[-1]
    assert not whole.exact
    V = gaussian_vectors(len(H), 5, seed=0, key="full/split").T
    HV, GV, RV = H @ V, G @ V, (H - G) @ V
    expected = [*((V * A).sum(0) for A in (HV, GV, RV)), *(A.norm(dim=0) for A in (HV, GV, RV))]
    expected.append((GV * RV).sum(0) / (GV.norm(dim=0) * RV.norm(dim=0)))
    assert np.allclose(whole.moments, torch.stack(expected, 1).numpy(), rtol=1e-9, atol=1e-12)


def sampled(H, G, seed, probes=12):
    """The estimator itself on dense matrices: fast enough for hundreds of seeds."""
    V = torch.randn(len(H), probes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    products = [A @ V for A in (H, G, H - G)]
    rows = [(V * A).sum(0) for A in products] + [A.norm(dim=0) for A in products]
    rows.append((products[1] * products[2]).sum(0) / (rows[4] * rows[5]))
    return BlockSplit("b", len(H), False, 0.0, torch.stack(rows, 1).numpy())


@pytest.mark.parametrize("name", NAMES)
def test_estimates_are_unbiased_and_intervals_hold_the_truth(name):
    H, G = dense(name)
    expected = truths(H, G)
    found = [split_measures(sampled(H, G, seed)) for seed in range(200)]
    for measure, truth in expected.items():
        held = np.mean([own[measure].low <= truth <= own[measure].high for own in found])
        assert held >= 0.93, (measure, held)
        values = np.array([own[measure].value for own in found])
        if measure == "cosine":
            continue  # a ratio has a bias of its own
        power = 2 if measure.startswith("norm") else 1
        error = (values**power).std(ddof=1) / np.sqrt(len(values))
        assert abs((values**power).mean() - truth**power) < 4 * error, measure


def test_the_whole_way_is_unbiased():
    """Over seeds of the command itself, on the smallest net."""
    problem, (H, G) = problem_of("mlp, mse", sizes=(9,)), dense("mlp, mse")
    values = [split_of(problem, 3, seed=seed)[1][-1].moments for seed in range(20)]
    rows = np.concatenate(values)
    expected = truths(H, G)
    for index, measure in enumerate(("trace_hessian", "trace_ggn", "trace_residual")):
        error = rows[:, index].std(ddof=1) / np.sqrt(len(rows))
        assert abs(rows[:, index].mean() - expected[measure]) < 4 * error
    for index, measure in enumerate(("norm_hessian", "norm_ggn", "norm_residual")):
        squares = rows[:, 3 + index] ** 2
        assert abs(squares.mean() - expected[measure] ** 2) < 4 * squares.std(ddof=1) / np.sqrt(len(rows))


def test_of_a_linear_model_nothing_is_left():
    torch.manual_seed(0)
    x, y = torch.randn(20, 6), torch.randint(0, 4, (20,))
    model = nn.Linear(6, 4)
    for dtype in (torch.float32, torch.float64):
        problem = Problem(model, "cross-entropy", [(x, y)], dtype=dtype)
        problem.measure_loss()
        blocks = resolve_blocks(problem.model, problem.parameters, ["parameter"], full=True)
        for probes in (4, 100):
            split = split_hessian(problem, blocks, probes=probes, seed=0, noise_floor={}, memory=2**30)
            for block in split:
                found = split_measures(block)
                assert found["norm_residual"].value is None
                assert found["norm_residual"].high <= 1e-5 * found["norm_hessian"].value
                assert found["trace_residual"].value is None
                assert found["trace_hessian"].value == pytest.approx(found["trace_ggn"].value)


def test_what_is_below_the_noise_is_not_told():
    moments = np.array([[5.0, 5.0, 1e-7, 3.0, 3.0, 1e-6, 0.1], [4.0, 4.0, 1e-7, 2.0, 2.0, 1e-6, 0.1]])
    found = split_measures(BlockSplit("b", 9, False, 1e-6, moments))
    assert found["trace_residual"].value is None
    assert found["cosine"].value is None
    assert found["norm_residual"].value is None
    assert 1e-6 < found["norm_residual"].high < 1e-5
    assert found["trace_hessian"].value == pytest.approx(4.5)
    clear = split_measures(BlockSplit("b", 9, False, 1e-9, moments))
    assert clear["trace_residual"].value == pytest.approx(1e-7)


def test_small_blocks_are_whole_and_products_are_counted():
    assert is_whole(48, 12)
    assert not is_whole(49, 12)
    assert split_matvecs(30, 12) == 60
    assert split_matvecs(10**6, 12) == 24


def test_facts_come_back():
    _, split = split_of(problem_of("mlp, mse"), probes=4)
    for one, other in zip(split, split_from(as_facts(split)), strict=True):
        assert (one.name, one.size, one.exact, one.noise) == (other.name, other.size, other.exact, other.noise)
        assert np.array_equal(one.moments, other.moments)
        assert other.moments.shape[1] == len(MOMENTS)
    with pytest.raises((KeyError, TypeError, ValueError)):
        split_from([{"name": "x"}])
