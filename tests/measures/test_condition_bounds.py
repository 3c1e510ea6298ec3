"""The bounds on the condition number: certified, sharp, and equal to the figures of their derivation."""

import dataclasses
import math

import numpy as np
import pytest
from oracles import network_like, true_gap
from small_matrices import exact_block, sampled_block

from hessent.measures.condition import condition_for_gap, condition_lower_ritz, largest_gap
from hessent.measures.registry import compute_measures
from hessent.spectra.recurrences import ProbeRuns

ENDLESS = 10**12  # stands for n → ∞


def gap_of_two_values(k, j, n):
    """Entropy gap of j eigenvalues k and n − j eigenvalues 1."""
    mass = j * k + n - j
    return j * k * math.log(k) / mass - math.log(mass / n)


def largest_gap_by_trying_all(k, n):
    j = np.arange(1.0, n)
    mass = j * k + n - j
    return float((j * k * math.log(k) / mass - np.log(mass / n)).max())


def random_spectrum(rng, n):
    shape = rng.integers(5)
    if shape == 0:
        return np.abs(rng.standard_normal(n)) + 1e-12
    if shape == 1:
        return 10.0 ** rng.uniform(-rng.uniform(0.1, 8), 0, n)
    if shape == 2:
        return rng.gamma(rng.uniform(0.05, 2), 1.0, n) + 1e-30
    if shape == 3:  # near the extremal spectra: two values, some of them moved
        values = np.where(np.arange(n) < rng.integers(1, n), 10.0 ** rng.uniform(0, 6), 1.0)
        return values ** rng.uniform(0.97, 1.0, n)
    return 1.0 + rng.exponential() * rng.random(n)


def test_no_spectrum_has_a_larger_gap_than_its_condition_number_allows():
    rng = np.random.default_rng(0)
    for _ in range(6000):
        n = int(rng.integers(2, 40))
        values = random_spectrum(rng, n)
        log_condition = math.log(values.max() / values.min())
        assert true_gap(values) <= largest_gap(log_condition, n) * (1 + 1e-10) + 1e-12


def test_the_certified_bound_never_exceeds_the_condition_number():
    rng = np.random.default_rng(1)
    for _ in range(400):
        n = int(rng.integers(2, 25))
        values = random_spectrum(rng, n) * np.where(rng.random(n) < 0.3, -1, 1)
        bound = compute_measures(exact_block(values))["condition_lower_entropy"].value
        condition = np.abs(values).max() / np.abs(values).min()
        assert bound <= condition * (1 + 1e-6)
        # The paper's own bound, exp(gap), is always weaker.
        assert math.exp(true_gap(values)) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("n", [2, 3, 10, 500, 4096, 4097, 10**5])
@pytest.mark.parametrize("k", [1.001, 2.0, 50.0, 1e6, 1e12])
def test_the_bound_is_reached_by_spectra_of_two_values(n, k):
    gap = largest_gap_by_trying_all(k, n)
    assert largest_gap(math.log(k), n) == pytest.approx(gap, rel=1e-9, abs=1e-15)
    if n <= 10 or n > 4096:
        # Near log n the gap hardly depends on k; what rounding of its terms, of size ln k, leaves open is granted.
        slope = (largest_gap_by_trying_all(k * 1.01, n) - largest_gap_by_trying_all(k / 1.01, n)) / 0.02
        assert condition_for_gap(gap, n) == pytest.approx(k, rel=1e-7 + 1e-15 * math.log(k) / slope)


@pytest.mark.parametrize(("gap", "condition", "paper"), [(1.48, 41.6, 4.4), (6.0, 1.0e4, 403)])
def test_gaps_invert_to_the_condition_numbers_of_their_derivation(gap, condition, paper):
    # For n → ∞: gap = s − 1 − ln s with s = k ln k / (k − 1).
    found = condition_for_gap(gap, ENDLESS)
    s = found * math.log(found) / (found - 1)
    assert s - 1 - math.log(s) == pytest.approx(gap, rel=1e-6)
    assert found == pytest.approx(condition, rel=0.02)
    assert math.exp(gap) == pytest.approx(paper, rel=0.01)


def test_the_middle_expression_of_the_paper_is_not_a_bound():
    gap, k, n = true_gap(np.array([2.0, 2.0, 1.0, 1.0])), 2.0, 4
    middle = k / (k + n - 1) * math.log(k) - math.log((n + k - 1) / n)
    assert gap == pytest.approx(0.0566, abs=5e-5)
    assert middle == pytest.approx(0.0541, abs=5e-5)
    assert gap > middle
    assert largest_gap(math.log(k), n) == pytest.approx(gap, rel=1e-12)
    assert condition_for_gap(gap, n) == pytest.approx(2.0, rel=1e-6)


def test_more_gap_needs_more_condition_and_more_eigenvalues_need_less():
    gaps = np.linspace(0.01, 2.2, 12)
    bounds = [condition_for_gap(gap, 10) for gap in gaps]
    assert bounds == sorted(bounds)
    # A larger matrix can spread a given gap over a smaller condition number.
    sizes = [condition_for_gap(1.0, n) for n in (4, 10, 100, 10**4, 10**7)]
    assert sizes == sorted(sizes, reverse=True)


def test_without_a_gap_nothing_is_certified():
    assert condition_for_gap(0.0, 100) == 1.0
    assert condition_for_gap(-1e-12, 100) == 1.0
    assert condition_for_gap(0.3, 1) == 1.0
    assert largest_gap(0.0, 100) == 0.0
    assert largest_gap(5.0, 1) == 0.0
    assert math.isinf(condition_for_gap(math.log(50), 50))


def test_the_bound_always_uses_order_one():
    block = exact_block(network_like(80))
    bounds = {compute_measures(block, alpha=order)["condition_lower_entropy"] for order in (0.5, 1.0, 2.0)}
    assert len(bounds) == 1


def test_the_interval_of_the_bound_is_the_image_of_the_gaps_interval():
    block = sampled_block(network_like(150), probes=4, steps=25, deflated=12)
    measures = compute_measures(block)
    gap, bound = measures["entropy_gap"], measures["condition_lower_entropy"]
    for end in ("low", "value", "high"):
        expected = condition_for_gap(getattr(gap, end), 150)
        assert getattr(bound, end) == pytest.approx(expected)
        assert largest_gap_by_trying_all(expected, 150) == pytest.approx(getattr(gap, end), rel=1e-6)
    assert bound.low < bound.value < bound.high


def test_ritz_values_never_promise_more_than_the_condition_number():
    rng = np.random.default_rng(3)
    for seed in range(60):
        n = int(rng.integers(30, 90))
        values = random_spectrum(rng, n) * np.where(rng.random(n) < 0.4 * (seed % 2), -1, 1)
        bound = condition_lower_ritz(sampled_block(values, probes=3, steps=int(rng.integers(2, 25)), seed=seed))
        assert 1.0 <= bound.value <= np.abs(values).max() / np.abs(values).min() * (1 + 1e-8)
        assert bound.low == bound.value
        assert bound.high is None


def test_a_zero_matrix_has_no_condition_number_sampled_or_not():
    for block in (exact_block(np.zeros(5)), sampled_zero_block()):
        for name in ("condition_lower_entropy", "condition_lower_ritz", "condition_damped"):
            estimate = compute_measures(block)[name]
            assert (estimate.value, estimate.reason) == (None, "the matrix is zero"), name


def sampled_zero_block():
    block = sampled_block(np.ones(6), probes=3, steps=1)
    zeros = ProbeRuns(np.zeros((3, 1)), np.zeros((3, 0)), np.zeros(3))
    return dataclasses.replace(block, probes=zeros, lambda_max=(0.0, 0.0), lambda_min=(0.0, 0.0))


def test_the_damped_condition_number_encloses_the_truth_where_both_ends_converged():
    values = np.r_[np.linspace(2.0, 3.0, 40), 30.0, 0.5]
    block = sampled_block(values, probes=3, steps=20)
    delta = 1e-3 * 30.0
    estimate = compute_measures(block)["condition_damped"]
    assert estimate.value == pytest.approx((30.0 + delta) / (0.5 + delta))
    assert estimate.low <= estimate.value <= estimate.high
    # Negative eigenvalues do not count below: damping alone is left.
    below = compute_measures(exact_block([-5.0, 1.0, 4.0]), tau_rel=0.1)["condition_damped"]
    assert below.value == pytest.approx((4.0 + 0.5) / 0.5)
