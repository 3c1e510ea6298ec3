"""The yardstick itself: known spectra are what they say, and the reduction of many copies is exact."""

import math

import numpy as np
import pytest
from benchmarks.known_operators import START_VECTORS, reduced_start, solve
from benchmarks.plain_quadrature import plain_quadrature
from benchmarks.spectra_generator import FAMILIES, LISTED, KnownSpectrum, of_eigenvalues
from oracles import true_gap

from hessent.measures.registry import compute_measures


@pytest.mark.parametrize("size", [1_000, 20_000, LISTED, 10**8])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_as_many_eigenvalues_as_asked_for(family, size):
    spectrum = FAMILIES[family](size)
    assert spectrum.size == size
    assert spectrum.listed == (size <= LISTED)
    assert len(np.unique(spectrum.values[spectrum.values != 0])) == (spectrum.values != 0).sum()


@pytest.mark.parametrize("family", ["decades", "network"])
def test_a_bulk_spans_eight_decades_with_negatives_and_zeros(family):
    spectrum = FAMILIES[family](100_000)
    magnitudes = np.abs(spectrum.values[spectrum.values != 0])
    bulk = np.sort(magnitudes)[:-50]
    assert 1e7 < bulk[-1] / bulk[0] < 1e9
    assert spectrum.share(spectrum.values < 0) == pytest.approx(0.1, rel=0.01)
    assert spectrum.share(spectrum.values == 0) == pytest.approx(0.1, rel=0.01)


def test_the_truth_of_copies_is_that_of_the_listed_eigenvalues():
    copied = KnownSpectrum("copies", np.array([3.0, -0.5, 0.0, 1e-4]), np.array([2, 5, 3, 40]))
    listed = of_eigenvalues("listed", np.repeat(copied.values, copied.copies))
    assert copied.truth(1e-3) == pytest.approx(listed.truth(1e-3))
    for alpha in (0.5, 1.0, 2.0, math.inf):
        assert copied.gap(alpha) == pytest.approx(true_gap(listed.values, alpha))


def test_inner_products_of_reduced_start_vectors_are_those_of_gaussian_ones():
    """A Wishart matrix with m degrees of freedom: mean m on the diagonal, variances 2 m on it and m beside it."""
    copies = np.full(4_000, 60)
    generator = np.random.default_rng(3)
    vectors = np.array([reduced_start(copies, drawn, generator) for drawn in range(3)])
    parts = vectors.reshape(3, len(copies), min(60, START_VECTORS))
    inner = np.einsum("igc,jgc->gij", parts, parts)
    assert inner.mean(axis=0) == pytest.approx(60 * np.eye(3), abs=60 * 0.02)
    assert inner.var(axis=0) == pytest.approx(60 * (1 + np.eye(3)), rel=0.12)


def test_few_copies_are_there_in_full():
    copies = np.array([1, 2, START_VECTORS, START_VECTORS + 1])
    generator = np.random.default_rng(4)
    vector = reduced_start(copies, 0, generator)
    assert (vector[: copies[:3].sum()] != 0).all()
    assert (vector[copies[:3].sum() :] != 0).sum() == 1


def test_more_start_vectors_than_the_reduction_stands_for_are_refused():
    with pytest.raises(ValueError, match="start vectors"):
        reduced_start(np.array([100]), START_VECTORS, np.random.default_rng(0))


def test_a_reduced_diagonal_is_estimated_like_the_listed_one():
    """The same matrix of 24,000 rows, listed and reduced: errors of the same size."""
    values, copies = np.r_[50.0, 20.0, np.geomspace(1.0, 1e-6, 60)], np.r_[1, 1, np.full(60, 400)]
    reduced = KnownSpectrum("reduced", values, copies)
    listed = of_eigenvalues("listed", np.repeat(values, copies))
    spread = {}
    room = 1000 * 8 * listed.size  # the same for both, so that they go the same way
    for spectrum in (reduced, listed):
        blocks = [solve(spectrum, seed=seed, max_matvecs=80, basis_memory=room) for seed in range(12)]
        traces = np.array([compute_measures(block)["trace"].value for block in blocks])
        spread[spectrum.name] = traces / spectrum.truth(0.0)["trace"] - 1
        assert abs(spread[spectrum.name].mean()) < 0.01
    assert 0.4 < spread["reduced"].std() / spread["listed"].std() < 2.5


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_hundred_million_eigenvalues_are_estimated_honestly(family):
    spectrum = FAMILIES[family](10**8)
    truth = spectrum.truth(0.0)
    held = dict.fromkeys(("trace", "abs_trace", "entropy_gap"), 0)
    for seed in range(20):
        measures = compute_measures(solve(spectrum, seed=seed, max_matvecs=300))
        for name in held:
            held[name] += measures[name].low <= truth[name] <= measures[name].high
    assert min(held.values()) >= 17, held  # 16 of 20 or fewer come up once in 60 with a true coverage of 0.95


def test_plain_quadrature_is_unbiased_and_as_rough_as_arithmetic_says():
    spectrum = FAMILIES["network"](2_000)
    truth = spectrum.truth(0.0)["trace"]
    errors = np.array([plain_quadrature(spectrum, 100, seed)["trace"] / truth - 1 for seed in range(60)])
    expected = math.sqrt(2 * spectrum.total(np.square) / 10) / truth
    assert errors.std() == pytest.approx(expected, rel=0.3)
    assert abs(errors.mean()) < 4 * expected / math.sqrt(60)
