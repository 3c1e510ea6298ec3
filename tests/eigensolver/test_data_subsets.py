"""The error of the data subset: population intervals and the free jackknife against dense Hessians of a net."""

import functools

import numpy as np
import pytest
from benchmarks.data_subsets import MEASURES, GroupedOperator, dense_jackknife, subset


@functools.cache
def fifty_subsets():
    return [subset(seed, samples=256, budget=300) for seed in range(50)]


def ratios_of_errors(name):
    return np.array([one.error[name] / one.true_error[name] for one in fifty_subsets()])


def test_the_dense_jackknife_of_scaled_copies_is_that_of_their_scales():
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((20, 20))
    scales = np.array([0.5, 1.0, 1.5, 2.0])
    groups = scales[:, None, None] * (matrix @ matrix.T)
    errors = dense_jackknife(groups, 0.0)
    spread = np.sqrt(3 / 4 * (((scales.sum() - scales) / 3 - scales.mean()) ** 2).sum())
    assert errors["trace"] == pytest.approx(spread * (matrix**2).sum())
    assert errors["entropy_gap"] == pytest.approx(0.0, abs=1e-12)
    assert dense_jackknife(groups, 0.75)["trace"] == pytest.approx(errors["trace"] / 2)


def test_groups_of_the_operator_average_to_its_total():
    rng = np.random.default_rng(2)
    groups = rng.standard_normal((4, 6, 6))
    operator = GroupedOperator(groups + groups.transpose(0, 2, 1))
    product = operator.product(operator.total)
    assert product.groups.mean(dim=0).numpy() == pytest.approx(product.total.numpy())


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURES)
def test_population_intervals_hold_the_full_data_in_90_of_100(name):
    assert np.mean([one.held[name] for one in fifty_subsets()]) >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize(("name", "within"), [("lambda_max", 0.10), ("trace", 0.10), ("abs_trace", 0.30)])
def test_the_free_jackknife_agrees_with_the_true_one(name, within):
    assert abs(np.median(ratios_of_errors(name)) - 1) <= within


@pytest.mark.slow
def test_the_free_jackknife_of_the_gap_is_hardly_ever_too_narrow():
    assert np.median(ratios_of_errors("entropy_gap")) >= 0.95
