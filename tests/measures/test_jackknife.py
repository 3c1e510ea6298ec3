"""The delete-a-group jackknife against what is known of means and variances."""

import math

import numpy as np
import pytest
from small_matrices import STUDENT_T

from hessent.measures.jackknife import jackknife


def leave_out(statistic, groups):
    """The statistic of all data, then without each group."""
    rest = [np.concatenate([g for j, g in enumerate(groups) if j != left]) for left in range(len(groups))]
    return np.array([statistic(np.concatenate(groups)), *map(statistic, rest)])


def test_the_error_of_a_mean_of_equal_groups_is_the_textbooks():
    groups = np.random.default_rng(0).standard_normal((4, 25))
    found = jackknife(leave_out(np.mean, list(groups)), np.full(4, 25))
    expected = groups.mean(axis=1).std(ddof=1) / math.sqrt(4)
    assert found.error == pytest.approx(expected)
    assert found.half_width == pytest.approx(STUDENT_T[3] * expected)
    assert found.bias == pytest.approx(0.0, abs=1e-12)


def test_groups_of_one_item_give_the_standard_error_of_the_mean():
    items = np.random.default_rng(1).exponential(size=(30, 1))
    found = jackknife(leave_out(np.mean, list(items)), np.ones(30, dtype=int))
    assert found.error == pytest.approx(items.std(ddof=1) / math.sqrt(30))


def test_the_bias_of_the_plain_variance_is_known():
    items = np.random.default_rng(2).standard_normal((12, 1))
    found = jackknife(leave_out(np.var, list(items)), np.ones(12, dtype=int))
    # The variance divided by N is too small by s²/N, s² the one divided by N − 1.
    assert found.bias == pytest.approx(-items.var(ddof=1) / 12)


@pytest.mark.parametrize("sizes", [(25, 25, 25, 25), (5, 15, 30, 50), (10, 90)])
def test_the_variance_is_right_on_average_for_groups_of_any_sizes(sizes):
    rng = np.random.default_rng(3)
    found = []
    for _ in range(3000):
        groups = [rng.standard_normal(size) for size in sizes]
        found.append(jackknife(leave_out(np.mean, groups), np.array(sizes)).error ** 2)
    # Σ over N independent items of variance one: 1/N.
    assert np.mean(found) == pytest.approx(1 / 100, abs=4 * np.std(found) / math.sqrt(3000))


def test_unequal_groups_weigh_each_group_by_the_items_that_the_rest_has():
    # For a mean the pseudo-values are the group means: (1/g) Σ (m_j − m)² / (N/n_j − 1), by hand.
    sizes, means = np.array([10, 30, 60]), np.array([1.0, 2.0, 4.0])
    total = (sizes * means).sum() / 100
    left_out = (100 * total - sizes * means) / (100 - sizes)
    found = jackknife(np.r_[total, left_out], sizes)
    expected = (2.1**2 / 9 + 1.1**2 / (100 / 30 - 1) + 0.9**2 / (100 / 60 - 1)) / 3
    assert total == 3.1
    assert found.error == pytest.approx(math.sqrt(expected))


def test_a_finite_population_leaves_less_error_and_less_bias():
    items = np.random.default_rng(4).standard_normal((12, 1))
    values, ones = leave_out(np.var, list(items)), np.ones(12, dtype=int)
    unlimited, part, whole = (jackknife(values, ones, sampled_fraction=f) for f in (0.0, 0.36, 1.0))
    assert part.error == pytest.approx(0.8 * unlimited.error)
    assert part.half_width == pytest.approx(0.8 * unlimited.half_width)
    assert part.bias == pytest.approx(0.64 * unlimited.bias)
    assert whole.error == whole.half_width == whole.bias == 0.0
