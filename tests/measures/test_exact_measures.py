"""Every measure of an exact block against its definition, written out term by term."""

import dataclasses
import math

import numpy as np
import pytest
from oracles import network_like
from small_matrices import exact_block, sampled_block

from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.measures.registry import compute_measures, measure_names, tau
from hessent.measures.trace import negative_mass

NAMES = {
    "trace",
    "abs_trace",
    "lambda_max",
    "lambda_min",
    "positive_ratio",
    "negative_ratio",
    "zero_ratio",
    "entropy",
    "entropy_gap",
    "effective_rank",
    "condition_lower_entropy",
    "condition_lower_ritz",
    "condition_damped",
}
ORDERS = (0.0, 0.5, 1.0, 2.0, 3.7, math.inf)
SPECTRA = {
    "network": network_like(150),
    "positive": np.geomspace(0.02, 7.0, 40),
    "negative": -np.linspace(0.5, 3.0, 25),
    "mirrored": np.r_[-np.arange(1.0, 12.0), np.arange(1.0, 12.0)],
    "equal": np.full(9, 2.5),
    "rank three": np.r_[np.zeros(60), 1.0, 2.0, 5.0],
    "single": np.array([3.0]),
    "single negative": np.array([-3.0]),
}


def entropy_by_definition(values, order):
    total = math.fsum(abs(x) for x in values)
    p = [abs(x) / total for x in values if x != 0.0]
    if order == 1.0:
        return -math.fsum(x * math.log(x) for x in p)
    if math.isinf(order):
        return -math.log(max(p))
    return math.log(math.fsum(x**order for x in p)) / (1.0 - order)


def largest_gap_by_definition(k, n):
    return max(j * k * math.log(k) / (j * k + n - j) - math.log((j * k + n - j) / n) for j in range(1, n))


def measures_by_definition(values, order, tau_rel):
    n, top = len(values), max(abs(x) for x in values)
    tau = tau_rel * top
    order_zero = [x if abs(x) > tau else 0.0 for x in values]  # order 0 counts what is told from zero
    entropy = entropy_by_definition(order_zero if order == 0.0 else values, order)
    smallest = max(min(abs(x) for x in values), 2.0**-52 * top)
    return {
        "trace": math.fsum(values),
        "abs_trace": math.fsum(abs(x) for x in values),
        "lambda_max": max(values),
        "lambda_min": min(values),
        "positive_ratio": sum(x > tau for x in values) / n,
        "negative_ratio": sum(x < -tau for x in values) / n,
        "zero_ratio": sum(abs(x) <= tau for x in values) / n,
        "entropy": entropy,
        "entropy_gap": math.log(n) - entropy,
        "effective_rank": math.exp(entropy),
        "condition_lower_ritz": top / smallest,
        "condition_damped": (max(values) + tau) / (max(min(values), 0.0) + tau) if max(values) > 0 else None,
    }


def agrees(found, expected, scale=1.0):
    """Equal to rounding: 1e-12 relative, or 1e-12 of `scale` where terms cancel."""
    return found == pytest.approx(expected, rel=1e-12, abs=1e-12 * scale)


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("name", SPECTRA)
def test_every_measure_of_an_exact_block_is_its_definition(name, scale):
    values = [scale * float(x) for x in SPECTRA[name]]
    for order in ORDERS:
        found = compute_measures(exact_block(values), alpha=order)
        expected = measures_by_definition(values, order, 1e-3)
        for measure, number in expected.items():
            unit = math.fsum(map(abs, values)) if measure in ("trace", "abs_trace") else 1.0
            if measure in ("lambda_max", "lambda_min"):
                assert found[measure].value == number
            elif number is None:
                assert found[measure].value is None
                assert found[measure].reason
            else:
                assert agrees(found[measure].value, number, unit), (measure, order)


def test_the_bound_from_the_entropy_is_the_smallest_condition_number_that_allows_the_gap():
    for name in ("positive", "negative", "mirrored"):
        values = SPECTRA[name]
        n = len(values)
        gap = math.log(n) - entropy_by_definition(values, 1.0)
        bound = compute_measures(exact_block(values), alpha=2.0)["condition_lower_entropy"].value
        assert (
            largest_gap_by_definition(bound * (1 + 1e-7), n)
            > gap
            > largest_gap_by_definition(bound * (1 - 1e-7), n)
        )


def test_all_measures_come_in_the_stated_order():
    assert set(measure_names()) == NAMES | {*GRADIENT_MEASURES}
    assert len(measure_names()) == 13 + len(GRADIENT_MEASURES)
    for block in (exact_block([1.0, 2.0]), sampled_block(network_like(60), steps=10)):
        assert tuple(compute_measures(block)) == measure_names()


def test_an_exact_number_has_no_error_bar():
    measures = compute_measures(exact_block(SPECTRA["network"]))
    for name in NAMES - {"condition_lower_ritz"}:
        estimate = measures[name]
        assert estimate.exact, name
        assert estimate.low == estimate.value == estimate.high, name
    ritz = measures["condition_lower_ritz"]
    assert (ritz.low, ritz.high) == (ritz.value, None)


def test_order_zero_and_the_damping_use_the_threshold_of_the_ratios():
    values = [1.0, 0.1, 0.01, 0.001, -0.2]
    measures = compute_measures(exact_block(values), alpha=0.0, tau_rel=0.05)
    assert measures["effective_rank"].value == pytest.approx(3.0)
    assert measures["zero_ratio"].value == pytest.approx(2 / 5)
    assert measures["condition_damped"].value == pytest.approx(1.05 / 0.05)


def test_an_eigenvalue_at_the_threshold_counts_as_zero():
    measures = compute_measures(exact_block([1.0, 0.25, -0.25, 0.2500001]), tau_rel=0.25)
    ratios = [measures[name].value for name in ("positive_ratio", "negative_ratio", "zero_ratio")]
    assert ratios == pytest.approx([0.5, 0.0, 0.5])


def test_the_default_threshold_is_ten_times_the_noise_where_that_is_more_than_a_thousandth():
    values = [1.0, 2e-3, 5e-4]
    quiet = compute_measures(exact_block(values, noise=1e-6))
    assert quiet["zero_ratio"].value == pytest.approx(1 / 3)
    assert tau(exact_block(values, noise=1e-6)) == pytest.approx(1e-3)
    assert tau(exact_block(values, noise=4e-4)) == pytest.approx(4e-3)
    assert tau(exact_block(values, noise=4e-4), 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("size", [1, 7])
def test_a_zero_matrix_has_a_trace_and_no_entropy(size):
    measures = compute_measures(exact_block(np.zeros(size)))
    for name in ("trace", "abs_trace", "lambda_max", "lambda_min", "positive_ratio", "negative_ratio"):
        assert measures[name].value == 0.0, name
    assert measures["zero_ratio"].value == 1.0
    for name in NAMES - {*list(measures)[:7]}:
        assert measures[name].value is None, name
        assert measures[name].reason == "the matrix is zero", name


def test_a_singular_matrix_of_the_largest_gap_has_a_reason_instead_of_an_infinite_bound():
    bound = compute_measures(exact_block([0.0, 0.0, 4.0]))["condition_lower_entropy"]
    assert bound.value is None
    assert "singular" in bound.reason


@pytest.mark.parametrize("block", [exact_block(SPECTRA["network"]), sampled_block(SPECTRA["network"], steps=12)])
def test_noisy_products_leave_trace_and_largest_eigenvalue_alone(block):
    clean = compute_measures(block)
    at_limit = compute_measures(dataclasses.replace(block, noise=1e-5))
    noisy = compute_measures(dataclasses.replace(block, noise=1.01e-5))
    assert all(at_limit[name].value is not None for name in NAMES)
    assert noisy["trace"] == clean["trace"]
    assert noisy["lambda_max"].value == clean["lambda_max"].value
    for name in NAMES - {"trace", "lambda_max"}:
        assert noisy[name].value is noisy[name].low is noisy[name].high is None, name
        assert "noise" in noisy[name].reason


def test_negative_mass_is_the_share_of_the_absolute_trace_below_zero():
    values = SPECTRA["network"]
    expected = math.fsum(-x for x in values if x < 0) / math.fsum(abs(x) for x in values)
    assert negative_mass(exact_block(values)) == pytest.approx(expected, rel=1e-10)
    assert negative_mass(exact_block([1.0, 2.0])) == 0.0
    assert negative_mass(exact_block([-1.0, -2.0])) == 1.0
    assert negative_mass(exact_block([0.0, 0.0])) == 0.0


@pytest.mark.parametrize("order", [-0.5, math.nan])
def test_an_order_below_zero_is_refused(order):
    with pytest.raises(ValueError, match="order"):
        compute_measures(exact_block([1.0, 2.0]), alpha=order)
