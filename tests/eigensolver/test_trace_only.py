"""The trace alone against the trace, and its error against its scatter."""

import functools
import math

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like
from small_matrices import solve

from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import answer
from hessent.eigensolver.trace_only import TraceSampling
from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.measures.registry import compute_measures


@functools.cache
def operator_of(name, dtype=torch.float64):
    return DenseOperator(
        {
            "network": network_like(300),
            "power": 1.0 / np.arange(1, 301) ** 1.1,
            "flat": np.linspace(1.0, 2.0, 300),
            "indefinite": np.random.default_rng(0).standard_normal(300),
        }[name],
        dtype=dtype,
    )


def run(operator, *, seed=0, rtol=0.0, budget=60, room=10_000, dtype=torch.float64):
    operator.num_matvecs = 0
    sampling = TraceSampling(
        operator.size,
        seed=seed,
        key="test",
        rtol=rtol,
        budget=budget,
        room=room,
        dtype=dtype,
        device=torch.device("cpu"),
    )
    return answer(sampling.run(), operator)


def krylov_basis(matrix, starts, steps):
    """Orthonormal columns that span the block Krylov space, step by step, each orthogonalised twice."""
    block, _ = np.linalg.qr(starts.T)
    basis = block
    for _ in range(steps - 1):
        block = matrix @ block
        for _ in range(2):
            block = block - basis @ (basis.T @ block)
        block, _ = np.linalg.qr(block)
        basis = np.column_stack([basis, block])
    return basis


def test_each_estimate_is_its_definition():
    """The trace in the Krylov space is known; what is left of each test vector measures its complement."""
    operator = operator_of("network")
    H, n = operator.matrix.numpy(), 300
    found = run(operator, budget=60).estimates
    assert len(found) == 20
    Q = krylov_basis(H, gaussian_vectors(n, 4, seed=0, key="test/space").numpy(), 10)
    for estimate, test in zip(found, gaussian_vectors(n, 20, seed=0, key="test").numpy(), strict=True):
        rest = test - Q @ (Q.T @ test)
        expected = np.trace(Q.T @ H @ Q) + (n - 40) * (rest @ H @ rest) / (rest @ rest)
        assert estimate == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ["network", "power", "flat", "indefinite"])
def test_the_mean_is_unbiased_and_its_interval_holds_the_trace(name):
    operator = operator_of(name)
    truth, errors, held = operator.eigenvalues.sum(), [], 0
    for seed in range(60):
        estimates = run(operator, seed=seed, budget=60).estimates
        errors.append(estimates.mean() - truth)
        width = 2.093024 * estimates.std(ddof=1) / math.sqrt(20)  # Student's t with 19 degrees of freedom
        held += abs(errors[-1]) <= width
    assert abs(np.mean(errors)) <= 4 * np.std(errors, ddof=1) / math.sqrt(60)
    assert held >= 51  # of a true 0.95 fewer come up once in 2,000


def test_growing_uses_what_is_there_and_gives_the_same_estimates():
    operator = operator_of("power")
    grown = run(operator, rtol=1e-12, budget=240)  # 60, 120, 240 products
    assert operator.num_matvecs == grown.num_matvecs == 240
    at_once = run(operator, rtol=0.0, budget=240)
    assert grown.estimates == pytest.approx(at_once.estimates, rel=1e-8)
    assert (grown.converged, grown.status) == (False, "budget spent")


def test_a_met_tolerance_ends_the_run_early():
    operator = operator_of("network")
    result = run(operator, rtol=0.02, budget=300)
    assert (result.converged, result.status) == (True, "tolerance met")
    assert result.num_matvecs == operator.num_matvecs < 300
    assert result.estimates.mean() == pytest.approx(operator.eigenvalues.sum(), rel=0.02)


@pytest.mark.parametrize("rank", [0, 1, 5, 12])
def test_a_matrix_of_low_rank_is_exact(rank):
    operator = DenseOperator(np.r_[np.zeros(100 - rank), np.linspace(1.0, 3.0, rank)])
    estimates = run(operator, budget=60).estimates
    assert estimates == pytest.approx(np.full(len(estimates), operator.eigenvalues.sum()), abs=1e-10)


def test_few_vectors_in_memory_mean_fewer_test_vectors_not_more_memory():
    result = run(operator_of("network"), budget=200, room=48)
    assert len(result.estimates) == 16
    assert result.status == "caps reached"


def test_float32_costs_float32_accuracy_alone():
    wide = run(operator_of("network"), budget=60).estimates.mean()
    narrow = run(operator_of("network", torch.float32), budget=60, dtype=torch.float32).estimates.mean()
    assert narrow == pytest.approx(wide, rel=1e-5)


def test_a_block_with_only_its_trace_knows_nothing_else():
    operator = operator_of("network")
    block = solve(operator, only_trace=True, max_matvecs=100, rtol=0.0).spectrum
    assert (block.method, block.num_matvecs, operator.num_matvecs) == ("hutch++", 100, 100)
    measures = compute_measures(block)
    assert measures["trace"].low <= operator.eigenvalues.sum() <= measures["trace"].high
    assert not measures["trace"].exact
    for name in set(measures) - {"trace", *GRADIENT_MEASURES}:
        assert measures[name].value is None
        assert "only the trace" in measures[name].reason
