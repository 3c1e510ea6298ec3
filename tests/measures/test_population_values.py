"""Measures for the population: against sample covariances whose population is known, and by their formulas."""

import dataclasses
import math

import numpy as np
import pytest
from grouped_matrices import (
    average,
    exact_with_groups,
    sampled_with_groups,
    spiked_groups,
    symmetric_groups,
    with_groups,
    without,
)
from oracles import true_gap
from small_matrices import STUDENT_T, exact_block

from hessent.measures.condition import condition_for_gap
from hessent.measures.registry import compute_measures, error_budget, measure_names

ITEMS = (8, 8, 8, 8)

GAP_WIDENING = 1.25  # for a bias that the jackknife does not see


def textbook(values, items):
    """Standard error of the usual jackknife for equal groups, from values without each group."""
    left_out = np.asarray(values)
    g = len(left_out)
    assert len(set(items)) == 1
    return math.sqrt((g - 1) / g * float(((left_out - left_out.mean()) ** 2).sum()))


def test_the_upward_bias_of_the_largest_eigenvalue_is_found_and_taken_off():
    # A spike ℓ in n dimensions seen through N samples stands at ℓ + ℓ γ/(ℓ − 1) on average, γ = n/N.
    size, items, spike = 40, (50, 50, 50, 50), 5.0
    rng, corrections, errors = np.random.default_rng(0), [], []
    for _ in range(80):
        found = compute_measures(exact_with_groups(spiked_groups(size, items, spike, rng), items))["lambda_max"]
        corrections.append(found.value - found.population.value)
        errors.append(found.population.value - spike)
    expected = spike * (size / 200) / (spike - 1)
    spread = np.std(corrections) / math.sqrt(80)
    assert np.mean(corrections) == pytest.approx(expected, abs=0.1 * expected + 3 * spread)
    assert abs(np.mean(errors)) <= 0.1 * expected + 3 * np.std(errors) / math.sqrt(80)


def test_population_intervals_hold_the_population_in_95_of_100_cases():
    size, items, spike, draws = 12, (60, 60, 60, 60), 4.0, 200
    truth = {"trace": size - 1 + spike, "abs_trace": size - 1 + spike, "lambda_max": spike}
    rng, held = np.random.default_rng(1), dict.fromkeys(truth, 0)
    for _ in range(draws):
        found = compute_measures(exact_with_groups(spiked_groups(size, items, spike, rng), items))
        for name, number in truth.items():
            held[name] += found[name].population.low <= number <= found[name].population.high
    assert min(held.values()) >= draws * 0.95 - 2.5 * math.sqrt(draws * 0.95 * 0.05)
    assert max(held.values()) < draws  # nor are they wide without need


def test_an_exact_block_has_the_data_alone_to_answer_for():
    matrices = symmetric_groups(4, 20, np.random.default_rng(2))
    block = exact_with_groups(matrices, ITEMS)
    measures, budget = compute_measures(block), error_budget(block)
    left_out = [np.linalg.eigvalsh(without(matrices, ITEMS, j)) for j in range(4)]
    by_hand = {
        "trace": [x.sum() for x in left_out],
        "abs_trace": [np.abs(x).sum() for x in left_out],
        "entropy_gap": [true_gap(x) for x in left_out],
        "lambda_min": [x[0] for x in left_out],
        "positive_ratio": [(x > 1e-3 * np.abs(x).max()).mean() for x in left_out],
    }
    for name, values in by_hand.items():
        own, reach = measures[name], STUDENT_T[3] * textbook(values, ITEMS)
        if name == "entropy_gap":
            reach *= GAP_WIDENING
        assert own.exact
        assert own.population.value == own.value, name  # λ_max alone is corrected
        assert own.population.high == pytest.approx(own.value + reach), name
        assert not own.population.exact
        if name in budget:
            assert budget[name]["data"] == pytest.approx(reach), name
    top = [x[-1] for x in left_out]
    bias = 3 * (np.mean(top) - measures["lambda_max"].value)
    own, reach = measures["lambda_max"], STUDENT_T[3] * textbook(top, ITEMS)
    assert bias > 0.0
    assert own.population.value == pytest.approx(own.value - bias)
    # The correction is as uncertain as it is large: both values are within.
    assert (own.population.low, own.population.high) == pytest.approx((own.value - bias - reach, own.value + reach))
    assert budget["lambda_max"]["data"] == pytest.approx(STUDENT_T[3] * textbook(top, ITEMS))


def test_functions_of_the_gap_take_its_population_interval_through_them():
    block = exact_with_groups(symmetric_groups(4, 20, np.random.default_rng(3)), ITEMS)
    measures = compute_measures(block)
    gap = measures["entropy_gap"].population
    for end, other in (("value", "value"), ("low", "high"), ("high", "low")):
        entropy = math.log(20) - getattr(gap, other)
        assert getattr(measures["entropy"].population, end) == pytest.approx(entropy)
        assert getattr(measures["effective_rank"].population, end) == pytest.approx(math.exp(entropy))
        bound = condition_for_gap(getattr(gap, end), 20)
        assert getattr(measures["condition_lower_entropy"].population, end) == pytest.approx(bound)
    # The certified bound always goes by order 1, whatever order the rest is shown at.
    again = compute_measures(block, alpha=2.0)
    assert again["condition_lower_entropy"] == measures["condition_lower_entropy"]
    assert again["entropy_gap"].population != measures["entropy_gap"].population


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, math.inf])
def test_gaps_of_other_orders_have_population_values_too(alpha):
    matrices = symmetric_groups(4, 20, np.random.default_rng(4))
    found = compute_measures(exact_with_groups(matrices, ITEMS), alpha=alpha)
    gap = found["entropy_gap"]
    assert gap.population.low < gap.value < gap.population.high
    if alpha == 0.0:
        zeros = found["zero_ratio"].population
        assert gap.population.high == pytest.approx(-math.log(1 - zeros.high))
    else:
        left_out = [true_gap(np.linalg.eigvalsh(without(matrices, ITEMS, j)), alpha) for j in range(4)]
        reach = GAP_WIDENING * STUDENT_T[3] * textbook(left_out, ITEMS)
        assert gap.population.high - gap.value == pytest.approx(reach)


def sampled(matrices, **options):
    starts = np.random.default_rng(5).standard_normal((matrices.shape[1], 4))
    return sampled_with_groups(matrices, ITEMS, deflated=6, starts=starts, steps=12, **options)


def test_the_error_of_the_data_and_that_of_the_estimate_add_in_squares():
    block = sampled(symmetric_groups(4, 60, np.random.default_rng(6)))
    measures, budget = compute_measures(block), error_budget(block)
    for name in ("trace", "abs_trace", "entropy_gap"):
        own = measures[name]
        for end in ("low", "high"):
            reach = math.hypot(getattr(own, end) - own.value, budget[name]["data"])
            assert abs(getattr(own.population, end) - own.value) == pytest.approx(reach), (name, end)
    for name in ("positive_ratio", "zero_ratio", "lambda_min", "condition_damped"):
        own = measures[name]
        assert own.population.low <= own.low <= own.high <= own.population.high, name
    assert measures["condition_lower_ritz"].population is None


def test_the_free_jackknife_agrees_with_the_one_of_dense_matrices():
    # Like a net: a few large directions, each group of 32 samples sees others, a little of it negative.
    rng, size = np.random.default_rng(7), 100
    samples = rng.standard_normal((4, 32, size)) * np.sqrt(np.geomspace(50, 1e-3, size))
    matrices = samples.transpose(0, 2, 1) @ samples / 32 - np.diag(np.geomspace(1e-3, 0.1, size))
    truth = error_budget(exact_with_groups(matrices, ITEMS))
    for seed in range(3):
        starts = np.random.default_rng(seed).standard_normal((size, 6))
        free = error_budget(sampled_with_groups(matrices, ITEMS, deflated=25, starts=starts, steps=40))
        for name, within in (("lambda_max", 0.02), ("trace", 0.1), ("abs_trace", 0.2)):
            assert free[name]["data"] == pytest.approx(truth[name]["data"], rel=within), name
        # The gap hangs on the least eigenvalues, which the bases of the whole matrix do not resolve for the parts.
        assert 0.7 <= free["entropy_gap"]["data"] / truth["entropy_gap"]["data"] <= 2.0


def test_traces_that_are_known_stand_before_projections():
    matrices = symmetric_groups(4, 60, np.random.default_rng(9))
    block = sampled(matrices)
    known = dataclasses.replace(block.groups, traces=np.trace(matrices, axis1=1, axis2=2))
    traces = np.trace(matrices, axis1=1, axis2=2)
    reach = STUDENT_T[3] * traces.std(ddof=1) / 2
    assert error_budget(with_groups(block, known))["trace"]["data"] == pytest.approx(reach)
    assert error_budget(block)["trace"]["data"] != pytest.approx(reach, rel=1e-6)


def test_with_the_whole_population_at_hand_nothing_is_left_to_chance():
    matrices = symmetric_groups(4, 20, np.random.default_rng(10))
    for own in compute_measures(exact_with_groups(matrices, ITEMS, sampled_fraction=1.0)).values():
        if own.population is not None:
            ends = (own.population.low, own.population.value, own.population.high)
            assert ends == pytest.approx((own.value,) * 3)
    half = error_budget(exact_with_groups(matrices, ITEMS, sampled_fraction=0.75))["trace"]["data"]
    assert half == pytest.approx(error_budget(exact_with_groups(matrices, ITEMS))["trace"]["data"] / 2)


def test_population_intervals_are_cut_to_what_is_possible():
    rng = np.random.default_rng(11)
    matrices = np.array([unit * np.diag(10.0 ** rng.uniform(-6, 3, 20)) for unit in (1, 1, 1, 100)])
    measures = compute_measures(exact_with_groups(matrices, ITEMS))
    assert measures["abs_trace"].population.low == 0.0
    assert measures["entropy_gap"].population.high <= math.log(20)
    assert measures["effective_rank"].population.low >= 1.0
    for name in ("positive_ratio", "zero_ratio"):
        assert 0.0 <= measures[name].population.low <= measures[name].population.high <= 1.0
    assert measures["condition_damped"].population.low >= 1.0


def test_what_cannot_be_known_has_no_population_value():
    matrices = symmetric_groups(4, 20, np.random.default_rng(12))
    plain = compute_measures(exact_block(np.linalg.eigvalsh(average(matrices, ITEMS))))
    noisy = compute_measures(exact_with_groups(matrices, ITEMS, noise=1e-3))
    assert all(plain[name].population is None for name in measure_names())
    assert {name for name in measure_names() if noisy[name].population is not None} == {"trace", "lambda_max"}
    # One group has all there is: without it the matrix is zero, and only sums and ends are defined.
    lonely = compute_measures(exact_with_groups(matrices * np.array([1.0, 0, 0, 0])[:, None, None], ITEMS))
    assert lonely["trace"].population is not None
    assert lonely["entropy_gap"].population is lonely["condition_damped"].population is None
    assert error_budget(exact_block([1.0, 2.0]))["trace"]["data"] is None


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e4, 1e30])
def test_population_values_scale_with_the_matrix(scale):
    matrices = symmetric_groups(4, 60, np.random.default_rng(13))
    plain, scaled = compute_measures(sampled(matrices)), compute_measures(sampled(scale * matrices))
    for name, own in plain.items():
        if own.population is None:
            continue
        unit = scale if name in ("trace", "abs_trace", "lambda_max", "lambda_min") else 1.0
        for end in ("value", "low", "high"):
            expected = pytest.approx(unit * getattr(own.population, end), rel=1e-6, abs=1e-9 * unit)
            assert getattr(scaled[name].population, end) == expected, (name, end)
