"""Signal and noise of synthetic updates whose truth is known: bias, coverage, and where the model breaks."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from hessent.measures.binary_channel import full_information, sign_error, sign_information
from hessent.measures.update_signal import update_signal
from hessent.measures.update_sums import joined
from hessent.optimizers.update_moments import TensorMoments, group_sizes


def collected(updates, name="t"):
    """Sums of an array (mini-batches, coordinates)."""
    moments = TensorMoments(name, updates.shape[1], group_sizes(len(updates)))
    for row in updates:
        moments.add(torch.as_tensor(row))
    return moments.sums()


def two_gaussians(snr, *, sigma=3e-4, size=20_000, batches=64, seed=0):
    random = np.random.default_rng(seed)
    direction = random.choice([-1.0, 1.0], size)
    return sigma * (snr * direction + random.standard_normal((batches, size)))


@pytest.mark.parametrize("snr", [0.1, 0.3, 1.0, 3.0])
def test_signal_and_noise_of_two_gaussians_come_back_within_five_percent(snr):
    for seed in range(3):
        found = update_signal(collected(two_gaussians(snr, seed=seed)))
        assert found.mu.value == pytest.approx(3e-4 * snr, rel=0.05)
        assert found.sigma.value == pytest.approx(3e-4, rel=0.05)
        assert found.snr.value == pytest.approx(snr, rel=0.05)
        assert found.sign_error.value == pytest.approx(stats.norm.cdf(-snr), rel=0.05)
        assert found.tanh_scale.value == pytest.approx(snr / 3e-4, rel=0.05)
        assert found.gaussian is True


def test_the_plain_absolute_mean_would_be_far_off_at_a_small_signal():
    updates = two_gaussians(0.1)
    assert np.abs(updates.mean(axis=0)).mean() > 1.25 * 3e-5  # what is corrected


def test_the_share_that_differs_is_counted():
    updates = two_gaussians(1.0)
    found = update_signal(collected(updates))
    counted = (np.abs(np.sign(updates) - np.tanh(found.tanh_scale.value * updates)) > 0.1).mean()
    assert found.differs.value == pytest.approx(counted, abs=2e-3)


def test_few_batches_are_without_bias_too():
    drawn = [two_gaussians(0.5, size=500, batches=16, seed=seed) for seed in range(60)]
    found = [update_signal(collected(updates)).snr.value for updates in drawn]
    assert np.mean(found) == pytest.approx(0.5, rel=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say():
    names = {"mu": 0.2, "sigma": 1.0, "snr": 0.2, "sign_error": stats.norm.cdf(-0.2), "tanh_scale": 0.2}
    names |= {"skewness": 0.0, "excess_kurtosis": 0.0, "mi_full_bits": full_information(0.2)}
    held = dict.fromkeys(names, 0)
    runs = 80
    for seed in range(runs):
        found = update_signal(collected(two_gaussians(0.2, sigma=1.0, size=300, batches=32, seed=seed)))
        for name, truth in names.items():
            estimate = getattr(found, name)
            held[name] += estimate.low <= truth <= estimate.high
    assert all(0.88 <= count / runs <= 1.0 for count in held.values()), held


NOISES = {
    "laplace": lambda random, shape: random.laplace(size=shape),
    "student": lambda random, shape: random.standard_t(5, shape),
    "uniform": lambda random, shape: random.uniform(-1, 1, shape),
    "unequal": lambda random, shape: random.standard_normal(shape) * random.exponential(size=shape[1]),
    "skewed": lambda random, shape: random.exponential(size=shape) - 1.0,
    "dead": lambda random, shape: random.standard_normal(shape) * (random.random(shape[1]) < 0.7),
}


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr", [0.1, 1.0])
def test_other_noise_is_flagged(kind, snr):
    random = np.random.default_rng(5)
    noise = NOISES[kind](random, (64, 20_000))
    direction = random.choice([-1.0, 1.0], 20_000)
    aligned = noise * direction if kind == "skewed" else noise
    assert update_signal(collected(snr * noise.std() * direction + aligned)).gaussian is False


def test_unequal_means_are_flagged():
    random = np.random.default_rng(6)
    means = random.exponential(size=20_000) * random.choice([-1.0, 1.0], 20_000) * 3
    assert update_signal(collected(means + random.standard_normal((64, 20_000)))).gaussian is False


def test_moments_agree_with_scipy_on_a_single_group():
    random = np.random.default_rng(1)
    values = random.gamma(2.0, size=(16, 40)) + 50.0
    sums = collected(values)
    for group in range(4):
        rows = values[4 * group : 4 * group + 4]
        # κ₄ + 3 κ₂², each without bias: k-statistics, and k₂² less its variance.
        k4 = np.array([stats.kstat(column, 4) for column in rows.T])
        k2 = np.array([stats.kstat(column, 2) for column in rows.T])
        k22 = (k2**2 - k4 / 4) * 3 / 5  # E[k₂²] = κ₂² (n + 1)/(n − 1) + κ₄/n, n = 4
        assert sums.fourth[group] == pytest.approx((k4 + 3 * k22).sum(), rel=1e-6)
        if group:
            k3 = np.array([stats.kstat(column, 3) for column in rows.T])
            assert sums.third[group] == pytest.approx(k3.sum(), rel=1e-6)


def test_several_tensors_are_as_one():
    updates = two_gaussians(0.7, size=600)
    parts = [collected(updates[:, :200]), collected(updates[:, 200:])]
    whole, together = update_signal(collected(updates)), update_signal(joined("t", parts))
    assert together.snr.value == pytest.approx(whole.snr.value)
    assert together.excess_kurtosis.low == pytest.approx(whole.excess_kurtosis.low)
    assert together.size == 600


def test_no_noise_and_no_update_are_told():
    still = update_signal(collected(np.ones((16, 5))))
    assert still.snr.value is None
    assert "same update" in still.snr.reason
    assert still.mu.value == 1.0
    dead = update_signal(collected(np.zeros((16, 5))))
    assert "no update" in dead.snr.reason


def entropy_bits(density, reach):
    def integrand(x):
        value = density(x)
        return -value * math.log2(value) if value > 0 else 0.0

    return integrate.quad(integrand, -reach, reach, limit=2000, epsabs=1e-11, epsrel=1e-11, points=[0.0])[0]


@pytest.mark.parametrize("snr", [0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 6.0])
def test_information_agrees_with_numerical_integration(snr):
    def mixture(x):
        return (stats.norm.pdf(x - snr) + stats.norm.pdf(x + snr)) / 2

    full = entropy_bits(mixture, snr + 12) - 0.5 * math.log2(2 * math.pi * math.e)
    assert full_information(snr) == pytest.approx(full, abs=1e-6)
    wrong = integrate.quad(stats.norm.pdf, -np.inf, -snr, epsabs=1e-14)[0]
    kept = 1 + wrong * math.log2(wrong) + (1 - wrong) * math.log2(1 - wrong)
    assert sign_information(snr) == pytest.approx(kept, abs=1e-6)
    assert sign_error(snr) == pytest.approx(wrong, rel=1e-6)
    assert sign_information(snr) <= full_information(snr)


def test_information_at_its_limits():
    assert full_information(1e-6) == pytest.approx(1e-12 / (2 * math.log(2)), rel=1e-6)
    assert sign_information(1e-6) / full_information(1e-6) == pytest.approx(2 / math.pi, rel=1e-6)
    assert full_information(100.0) == pytest.approx(1.0)
    assert full_information(0.0) == sign_information(0.0) == 0.0
