"""Laws of the entropy gap that hold for every spectrum, checked on random ones."""

import math

import numpy as np
import pytest
from small_matrices import exact_block, sampled_block

from hessent.measures.entropy import entropy_gap
from hessent.measures.registry import compute_measures

ORDERS = (0.5, 1.0, 1.5, 2.0, 8.0, math.inf)


def random_spectra(count, seed=0):
    """Spectra of many shapes: heavy and light tails, both signs, from one eigenvalue to eighty."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.integers(1, 80))
        shape = rng.integers(4)
        if shape == 0:
            yield rng.standard_normal(n)
        elif shape == 1:
            yield 10.0 ** rng.uniform(-9, 3, n)
        elif shape == 2:
            yield rng.gamma(0.2, 1.0, n) + 1e-300
        else:
            yield np.where(rng.random(n) < 0.5, -1, 1) * rng.uniform(1, 1 + rng.exponential(), n)


def gap(values, order=1.0):
    return entropy_gap(exact_block(values), order).value


@pytest.mark.parametrize("order", [0.0, *ORDERS])
def test_equal_magnitudes_have_no_gap(order):
    for values in ([4.0], [1e-20] * 13, [-3.0, 3.0, 3.0, -3.0], np.ones(1000)):
        assert gap(values, order) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_one_eigenvalue_alone_has_the_largest_gap(order):
    assert gap([0.0] * 99 + [-2.0], order) == pytest.approx(math.log(100), rel=1e-12)


def test_the_gap_does_not_know_the_scale():
    for values in random_spectra(40):
        for order in ORDERS:
            expected = gap(values, order)
            for scale in (-1.0, 1e-30, 1e-14, 1e4, 1e30):
                assert gap(scale * values, order) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_ladder_of_orders_ends_below_the_log_of_the_condition_number():
    for values in random_spectra(400, seed=1):
        rungs = [gap(values, order) for order in ORDERS]
        log_condition = math.log(np.abs(values).max() / np.abs(values).min())
        for lower, upper in zip(rungs, [*rungs[1:], log_condition], strict=True):
            assert lower <= upper + 1e-11
        assert rungs[0] >= 0.0


def test_the_gap_of_order_two_is_the_ratio_of_two_norms():
    for values in random_spectra(50, seed=2):
        n = len(values)
        ratio = n * float((values**2).sum()) / float(np.abs(values).sum()) ** 2
        assert gap(values, 2.0) == pytest.approx(math.log(ratio), rel=1e-9, abs=1e-12)


def test_the_gap_of_infinite_order_is_the_log_of_largest_over_mean():
    for values in random_spectra(50, seed=3):
        magnitudes = np.abs(values)
        expected = math.log(magnitudes.max() / magnitudes.mean())
        assert gap(values, math.inf) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_gaps_of_a_kronecker_product_add(order):
    spectra = list(random_spectra(40, seed=4))
    for a, g in zip(spectra[::2], spectra[1::2], strict=True):
        expected = gap(a, order) + gap(g, order)
        assert gap(np.kron(a, g), order) == pytest.approx(expected, rel=1e-9, abs=1e-11)


def test_orders_near_one_pass_through_order_one():
    for values in random_spectra(30, seed=5):
        middle = gap(values, 1.0)
        for step in (1e-5, -1e-5):
            assert gap(values, 1.0 + step) == pytest.approx(middle, abs=1e-3)


def test_entropy_gap_and_effective_rank_are_one_number_in_three_forms():
    for block in (exact_block([1.0, -2.0, 3.0]), sampled_block(np.geomspace(1e-3, 9, 120), steps=20, deflated=3)):
        for order in (0.0, *ORDERS):
            found = compute_measures(block, alpha=order)
            distance, amount, rank = (found[name] for name in ("entropy_gap", "entropy", "effective_rank"))
            assert distance == entropy_gap(block, order)
            size = math.log(block.size)
            assert amount.value == pytest.approx(size - distance.value)
            assert rank.value == pytest.approx(math.exp(amount.value))
            # The ends change places where the sign changes.
            assert (amount.low, amount.high) == pytest.approx((size - distance.high, size - distance.low))
            assert (rank.low, rank.high) == pytest.approx((math.exp(amount.low), math.exp(amount.high)))


def test_a_sampled_gap_stays_between_zero_and_log_n():
    for seed, values in enumerate(random_spectra(60, seed=6)):
        if len(values) < 12:
            continue
        estimate = entropy_gap(sampled_block(values, probes=2, steps=4, seed=seed))
        assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= math.log(len(values))


@pytest.mark.parametrize("order", [300.0, 1e5])
def test_a_high_order_never_breaks_a_short_run(order):
    block = sampled_block(np.linspace(0.1, 1.0, 200), probes=3, steps=2)
    estimate = entropy_gap(block, order)
    assert estimate.value is None or 0.0 <= estimate.value <= math.log(200)
    assert entropy_gap(exact_block(np.linspace(0.1, 1.0, 200)), order).value == pytest.approx(
        gap(np.linspace(0.1, 1.0, 200), math.inf), abs=0.05
    )


def test_order_zero_always_counts_the_largest_eigenvalue():
    # One eigenvalue of 400 is so rarely seen by a probe that the bracket of the rest may round up to everything.
    alone = np.r_[np.zeros(399), 1.0]
    for block in (exact_block(alone), sampled_block(alone, probes=2, steps=2)):
        assert entropy_gap(block, 0.0).high <= math.log(400) * (1 + 1e-12)
        assert compute_measures(block, alpha=0.0)["effective_rank"].low >= 1.0 - 1e-9
    nothing = entropy_gap(exact_block([1.0, 2.0]), 0.0, tau_rel=1.0)
    assert (nothing.value, nothing.reason) == (None, "no eigenvalue exceeds τ")
