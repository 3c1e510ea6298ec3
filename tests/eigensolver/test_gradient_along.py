"""The gradient's components along eigenvectors come from the vectors at hand, on every route."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from interrupted_solvers import interrupted_once
from oracles import DenseOperator
from small_matrices import MatrixOperator

from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import answer
from hessent.eigensolver.settings import SolverSettings
from hessent.journal.unit_file import block_from_bytes, block_to_bytes
from hessent.measures.gradient import gradient_measures
from hessent.spectra.gradients import BlockGradient

SIZE = 240
ROUTES = {
    "exact": {"method": "exact"},
    "joint": {"max_matvecs": 150},
    "few vectors": {"basis_memory": 100 * 8 * SIZE, "num_probes": 4, "num_steps": 12, "rtol": 0.001},
}


def operator(dtype=torch.float64):
    rng = np.random.default_rng(0)
    bulk = 10.0 ** -rng.uniform(1, 5, SIZE - 24) * rng.choice([-1.0, 1.0], SIZE - 24)
    return DenseOperator(np.sort(np.concatenate([bulk, np.linspace(1, 9, 18), -np.linspace(1, 4, 6)])), dtype=dtype)


VECTOR = torch.randn(SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * torch.logspace(
    0, -2, SIZE, dtype=torch.float64
)


def solver_of(route, *, vector=VECTOR, dtype=torch.float64):
    gradient = BlockGradient(np.array([3.0, 1.0, 0.9]), 1e-8, np.zeros((0, 3)), 8)
    return BlockSolver(
        "block",
        ("weight",),
        SIZE,
        SolverSettings(**({"method": "lanczos"} | ROUTES[route])),
        dtype=dtype,
        device="cpu",
        gradient=gradient,
        gradient_vector=None if vector is None else lambda: vector,
    )


def solved(route, dtype=torch.float64, **options):
    work = operator(dtype)
    solver = solver_of(route, dtype=dtype, **options)
    answer(solver.finish(), work)
    return solver.spectrum, work


def true_shares(work):
    """Of the eigenvalues, ascending."""
    return (work.eigenvectors.T @ VECTOR).numpy() ** 2 / float(VECTOR @ VECTOR)


def test_an_exact_block_has_the_components_along_its_eigenvectors():
    spectrum, work = solved("exact")
    assert spectrum.gradient.along.values is None
    np.testing.assert_allclose(spectrum.gradient.along.shares, true_shares(work), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(spectrum.eigenvalues, work.eigenvalues, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("route", ["joint", "few vectors"])
def test_a_sampled_block_has_those_of_its_outliers_and_a_true_enclosure(route, dtype):
    spectrum, work = solved(route, dtype)
    along, shares = spectrum.gradient.along, true_shares(work)
    found = gradient_measures(spectrum)
    places = np.searchsorted(along.values, spectrum.outliers.values - 1e-9)
    np.testing.assert_allclose(along.values[places], spectrum.outliers.values)
    for place in places[np.abs(spectrum.outliers.values) > 2.0]:
        nearest = np.argmin(np.abs(work.eigenvalues - along.values[place]))
        assert along.shares[place] == pytest.approx(shares[nearest], rel=2e-2, abs=1e-5)
    leading = np.argsort(-np.abs(work.eigenvalues))[:10]
    truths = {
        "gradient_top_share": shares[leading].sum(),
        "gradient_negative_share": shares[work.eigenvalues < 0].sum(),
    }
    for name, truth in truths.items():
        assert found[name].low <= truth + 1e-6, name
        assert truth - 1e-6 <= found[name].high, name
    assert found["gradient_top_share"].half_width < 0.02


@pytest.mark.parametrize("route", ROUTES)
def test_without_the_vector_the_gradient_is_kept_as_it_was(route):
    spectrum, _ = solved(route, vector=None)
    assert spectrum.gradient.along is None
    assert "not kept" in gradient_measures(spectrum)["gradient_top_share"].reason


@pytest.mark.parametrize("route", ROUTES)
def test_interrupted_the_components_are_the_same(route):
    interrupted_once(functools.partial(solver_of, route), MatrixOperator(operator().matrix), every=60)


@pytest.mark.parametrize("route", ROUTES)
def test_finished_blocks_keep_them(route):
    spectrum, _ = solved(route)
    kept = block_from_bytes("000", block_to_bytes("000", spectrum)).gradient.along
    np.testing.assert_array_equal(kept.shares, spectrum.gradient.along.shares)
    if route != "exact":
        np.testing.assert_array_equal(kept.residuals, spectrum.gradient.along.residuals)


def test_a_gradient_of_zero_has_no_direction():
    spectrum, _ = solved("exact", vector=torch.zeros(SIZE, dtype=torch.float64))
    assert not spectrum.gradient.along.shares.any()
