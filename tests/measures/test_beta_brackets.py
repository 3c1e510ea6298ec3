"""Counts of eigenvalues from the masses of isotropic probes: the masses are drawn, so the truth is known."""

import math

import numpy as np
import pytest

from hessent.measures.beta_law import counts_beyond


def mean_masses(count, dimension, probes, draws, rng):
    """Share of |x|² on the first `count` of `dimension` coordinates of Gaussian vectors, averaged over probes."""
    inside = rng.chisquare(count, (draws, probes)) if count else np.zeros((draws, probes))
    outside = rng.chisquare(dimension - count, (draws, probes)) if count < dimension else np.zeros_like(inside)
    return (inside / (inside + outside)).mean(axis=1)


@pytest.mark.parametrize("probes", [1, 2, 4, 16])
@pytest.mark.parametrize(("count", "dimension"), [(1, 150), (2, 150), (5, 150), (30, 150), (149, 150), (3, 10**6)])
def test_brackets_from_exact_masses_hold_the_true_count_in_95_of_100_cases(count, dimension, probes):
    masses = mean_masses(count, dimension, probes, 400, np.random.default_rng(count))
    lows, highs = np.array([counts_beyond(mass, mass, probes, dimension) for mass in masses]).T
    assert (lows <= highs).all()
    assert ((lows <= count) & (count <= highs)).mean() >= 0.95
    # Neither end is missed more often than its share of 1.25 %, up to chance (400 draws).
    for missed in ((lows > count).mean(), (highs < count).mean()):
        assert missed <= 0.0125 + 3 * math.sqrt(0.0125 / 400)


def test_limits_are_as_narrow_as_the_spread_of_the_masses_asks():
    # Where counts are many, the law is normal: K ± 2.2414 standard deviations, √(2 K (1 − K/d) / q).
    dimension, count, probes = 4000, 1000, 4
    reach = 2.2414 * math.sqrt(2 * count * (1 - count / dimension) / probes)
    low, high = counts_beyond(count / dimension, count / dimension, probes, dimension)
    assert low == pytest.approx(count - reach, abs=3)
    assert high == pytest.approx(count + reach, abs=3)


def test_one_eigenvalue_and_one_probe_follow_the_normal_law_of_a_single_component():
    # d·mass ≈ z² for K = 1: the count may be one as long as P(z² ≥ d·mass) > 1.25 %, that is |z| < 2.4977.
    dimension = 10**7
    for share, least in ((0.998, 1), (1.002, 2)):
        assert counts_beyond(share * 2.4977**2 / dimension, 1.0, 1, dimension) == (least, dimension)


@pytest.mark.parametrize("dimension", [1, 7, 10**8])
@pytest.mark.parametrize("probes", [1, 16])
def test_no_mass_means_no_eigenvalue_and_all_of_it_means_all(dimension, probes):
    assert counts_beyond(0.0, 0.0, probes, dimension) == (0, 0)
    assert counts_beyond(1.0, 1.0, probes, dimension) == (dimension, dimension)
    assert counts_beyond(0.0, 1.0, probes, dimension) == (0, dimension)
    # Rounding makes an eigenvalue neither of nothing nor less than all of everything.
    assert counts_beyond(1e-15, 1e-15, probes, dimension) == (0, 0)
    assert counts_beyond(1.0 - 1e-15, 1.0 - 1e-15, probes, dimension) == (dimension, dimension)


def test_a_mass_too_small_for_one_eigenvalue_and_yet_there_leaves_both():
    assert counts_beyond(1e-9, 1e-9, 4, 100) == (0, 1)
    assert counts_beyond(1 - 1e-9, 1 - 1e-9, 4, 100) == (99, 100)


def test_limits_rise_with_the_mass_and_close_in_with_probes():
    limits = np.array([counts_beyond(mass, mass, 4, 500) for mass in np.linspace(0.001, 0.999, 40)])
    assert (np.diff(limits, axis=0) >= 0).all()
    widths = [int(np.diff(counts_beyond(0.3, 0.3, probes, 500))[0]) for probes in (1, 4, 16)]
    assert widths[0] > 1.8 * widths[1] > 3.2 * widths[2]
