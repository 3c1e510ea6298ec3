"""Entropy and gap of gradients: closed forms, what does not matter to them, and their intervals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sample_spectra import exact_block, lanczos_block

from hessent.measures.gradient import GRADIENT_MEASURES, gradient_measures
from hessent.measures.jackknife import jackknife
from hessent.measures.paired import differences
from hessent.measures.registry import compute_measures
from hessent.spectra.gradients import BlockGradient

SIZE = 64
ENTRIES = np.random.default_rng(0).standard_t(2, SIZE)


def reduced(values):
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    total = sizes.sum()
    if total == 0.0:
        return [0.0, 0.0, 0.0]
    shares = sizes[sizes > 0.0] / total
    return [total, float((sizes**2).sum()), float(-(shares * np.log(shares)).sum())]


def gradient_of(values, *, batches=(), left_out=(), rounding=1e-7):
    return BlockGradient(
        total=np.array(reduced(values)),
        rounding=rounding,
        batches=np.array([reduced(batch) for batch in batches]).reshape(-1, 3),
        batch_size=8,
        left_out=np.array([reduced(part) for part in left_out]) if len(left_out) else None,
        items=np.full(len(left_out), 5) if len(left_out) else None,
    )


def block_with(values, **parts):
    return dataclasses.replace(exact_block(size=SIZE), gradient=gradient_of(values, **parts))


def noisy(count, seed, scale=0.3):
    return ENTRIES + scale * np.random.default_rng(seed).standard_normal((count, SIZE))


@pytest.mark.parametrize(("values", "entropy"), [(np.ones(SIZE), math.log(SIZE)), (np.eye(SIZE)[5], 0.0)])
def test_a_uniform_gradient_has_gap_zero_and_a_single_entry_the_largest(values, entropy):
    measures = gradient_measures(block_with(values))
    assert measures["gradient_entropy"].value == pytest.approx(entropy, abs=1e-12)
    assert measures["gradient_gap"].value == pytest.approx(math.log(SIZE) - entropy, abs=1e-12)
    assert measures["gradient_gap"].exact


@pytest.mark.parametrize("share", [1, 2, 16])
def test_m_equal_entries_have_entropy_log_m(share):
    values = np.where(np.arange(SIZE) < share, -3.0, 0.0)
    assert gradient_measures(block_with(values))["gradient_entropy"].value == pytest.approx(math.log(share))


def test_order_sign_and_scale_of_the_entries_do_not_matter():
    own = gradient_measures(block_with(ENTRIES))["gradient_gap"].value
    for other in (ENTRIES[::-1], -ENTRIES, 1e-20 * ENTRIES, 1e20 * ENTRIES):
        assert gradient_measures(block_with(other))["gradient_gap"].value == pytest.approx(own, rel=1e-12)


def test_a_gradient_that_is_zero_missing_or_lost_in_rounding_has_a_reason():
    zero = gradient_measures(block_with(np.zeros(SIZE), batches=np.zeros((4, SIZE))))
    missing = gradient_measures(exact_block(size=SIZE))
    lost = gradient_measures(block_with(ENTRIES, rounding=1e-3))
    assert {zero[name].reason for name in ("gradient_entropy", "gradient_gap")} == {"the gradient is zero"}
    assert "mini-batches" in zero["batch_gradient_gap"].reason
    assert all("not kept" in missing[name].reason for name in GRADIENT_MEASURES)
    assert "float64" in lost["gradient_gap"].reason
    assert all(found["gradient_gap"].value is None for found in (zero, missing, lost))


def test_mini_batches_have_the_mean_of_their_own_gaps_with_a_t_interval():
    batches = noisy(16, 1)
    found = gradient_measures(block_with(ENTRIES, batches=batches))
    gaps = np.array([math.log(SIZE) - reduced(batch)[2] for batch in batches])
    half_width = 2.13145 * gaps.std(ddof=1) / 4.0
    gap, entropy = found["batch_gradient_gap"], found["batch_gradient_entropy"]
    assert (gap.value, gap.low, gap.high) == pytest.approx(
        (gaps.mean(), gaps.mean() - half_width, gaps.mean() + half_width), rel=1e-5
    )
    assert entropy.value + gap.value == pytest.approx(math.log(SIZE))
    assert entropy.high - entropy.value == pytest.approx(half_width, rel=1e-5)
    assert not gap.exact


def test_the_interval_over_mini_batches_holds_the_mean_of_many():
    many = np.mean([math.log(SIZE) - reduced(batch)[2] for batch in noisy(4000, 99)])
    held = 0
    for seed in range(200):
        found = gradient_measures(block_with(ENTRIES, batches=noisy(16, seed)))["batch_gradient_gap"]
        held += found.low <= many <= found.high
    assert held >= 180


def test_the_population_interval_reaches_by_the_jackknife_and_twice_the_bias():
    left_out = noisy(4, 3)
    gap = gradient_measures(block_with(ENTRIES, left_out=left_out))["gradient_gap"]
    values = np.array([math.log(SIZE) - reduced(part)[2] for part in (ENTRIES, *left_out)])
    error = jackknife(values, np.full(4, 5))
    assert error.bias != 0.0
    low = gap.value - 1.25 * error.half_width - 2.0 * max(error.bias, 0.0)
    high = gap.value + 1.25 * error.half_width - 2.0 * min(error.bias, 0.0)
    assert (gap.population.low, gap.population.high) == pytest.approx((max(low, 0.0), min(high, math.log(SIZE))))
    assert gap.population.value == gap.value


def test_measures_of_the_gradient_stand_beside_those_of_the_spectrum_whatever_its_order_and_noise():
    for block in (
        block_with(ENTRIES),
        dataclasses.replace(lanczos_block(), gradient=gradient_of(ENTRIES), noise=1.0),
    ):
        for alpha in (1.0, 2.0):
            assert compute_measures(block, alpha=alpha)["gradient_entropy"].value == pytest.approx(
                reduced(ENTRIES)[2]
            )


def pair(scale=0.01):
    """Two runs whose gradients differ a little, on the same groups and mini-batches."""
    change = scale * np.random.default_rng(8).standard_normal(SIZE)
    batches, left_out = noisy(16, 1), noisy(4, 3)
    run = block_with(ENTRIES + change, batches=batches + change, left_out=left_out + change)
    return run, block_with(ENTRIES, batches=batches, left_out=left_out)


def difference(run, reference, name, **same):
    return differences(run, reference, **{"same_seed": True, "same_samples": True, **same})[name]


def test_the_same_curvature_with_another_gradient_is_another_gradient():
    run, reference = pair()
    found = difference(run, reference, "gradient_gap")
    assert found.value == pytest.approx(reduced(ENTRIES)[2] - run.gradient.total[2])
    assert found.value != 0.0
    assert found.exact
    assert found.paired
    assert difference(run, reference, "trace").value == 0.0


@pytest.mark.parametrize("name", ["gradient_gap", "batch_gradient_gap"])
def test_paired_intervals_are_much_narrower_and_hold_for_the_entropy_with_the_other_sign(name):
    run, reference = pair()

    def width(**same):
        found = difference(run, reference, name, **same)
        return (found.population if name == "gradient_gap" else found).half_width

    assert width() < 0.2 * width(same_samples=False)
    gap, entropy = difference(run, reference, name), difference(run, reference, name.replace("gap", "entropy"))
    assert entropy.value == pytest.approx(-gap.value)
    assert (entropy.low, entropy.high) == pytest.approx((-gap.high, -gap.low))


def test_differences_of_unlike_runs_add_in_squares_and_say_why():
    run, reference = pair()
    found = difference(run, reference, "batch_gradient_gap", same_seed=False)
    a, b = (gradient_measures(block)["batch_gradient_gap"] for block in (run, reference))
    assert found.half_width == pytest.approx(math.hypot(a.half_width, b.half_width))
    assert not found.paired
    assert "mini-batches" in found.reason
    apart = difference(run, reference, "gradient_gap", same_samples=False)
    assert (apart.exact, apart.paired, apart.reason) == (True, False, "the data differ")


def test_a_run_without_a_gradient_has_an_unknown_difference():
    run, _ = pair()
    found = difference(run, exact_block(size=SIZE), "gradient_gap")
    assert found.value is None
    assert "not kept" in found.reason


@pytest.mark.parametrize("name", ["batch_gradient_entropy", "batch_gradient_gap"])
def test_mini_batches_of_two_sizes_have_no_difference(name):
    run, reference = pair()
    other = dataclasses.replace(run, gradient=dataclasses.replace(run.gradient, batch_size=1024))
    for same in ({}, {"same_seed": False}, {"same_samples": False}):
        found = difference(other, reference, name, **same)
        assert (found.value, found.low, found.high, found.paired) == (None, None, None, False)
        assert found.reason == difference(reference, other, name, **same).reason
        assert found.reason == "mini-batches of 8 and of 1,024 samples"
    assert difference(other, reference, "gradient_gap").value == difference(run, reference, "gradient_gap").value
