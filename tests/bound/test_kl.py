"""The KL of the bound against the dense formula for Gaussians, and the bound against its definitions."""

import math

import numpy as np
import pytest
from oracles import DenseOperator, network_like
from scipy import stats
from small_matrices import solve

from hessent.estimate import Estimate
from hessent.measures.pac_bayes import (
    GRID,
    Confidence,
    bound,
    clamped_mass,
    kl_divergence,
    mean_interval,
    paper_brackets,
    slack,
    upper_mean,
)
from hessent.spectra.model import BlockSpectrum

NORM, ITEMS = 37.5, 250


def exact_block(values):
    return BlockSpectrum(
        "full", len(values), ("w",), "exact", len(values), True, "exact", 0.0, eigenvalues=np.sort(values)
    )


def dense_kl(matrix, norm_squared, s2):
    """KL(N(θ, Σ) ‖ N(0, s²I)) from the covariance itself: a trace and a determinant."""
    values, vectors = np.linalg.eigh(matrix)
    positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
    covariance = np.linalg.inv(positive + np.eye(len(matrix)) / s2)
    _, log_determinant = np.linalg.slogdet(covariance)
    n = len(matrix)
    return 0.5 * (np.trace(covariance) / s2 - n + norm_squared / s2 + n * math.log(s2) - log_determinant)


def test_the_kl_of_an_exact_block_is_that_of_the_dense_gaussians():
    operator = DenseOperator(network_like(120), seed=1)
    found = kl_divergence(exact_block(operator.eigenvalues), NORM, ITEMS)
    for s2, kl in zip(GRID, found, strict=True):
        assert kl.exact
        assert kl.value == pytest.approx(dense_kl(ITEMS * operator.matrix.numpy(), NORM, s2), rel=1e-8)


def test_without_curvature_only_the_weights_are_paid_for():
    for s2, kl in zip(GRID, kl_divergence(exact_block(np.zeros(4)), NORM, ITEMS), strict=True):
        assert kl.value == pytest.approx(NORM / (2 * s2))


@pytest.mark.parametrize("mean", [0.0, 0.1, 0.5])
def test_the_upper_mean_is_clopper_pearson_or_wider_and_not_by_much(mean):
    draws, delta = 40, 0.02
    exact = stats.beta.ppf(1 - delta, mean * draws + 1, draws - mean * draws)
    assert exact <= upper_mean(mean, draws, delta) <= exact + 0.06


def test_the_upper_mean_of_nothing_but_zeros_has_a_closed_form():
    assert upper_mean(0.0, 30, 0.01) == pytest.approx(1 - 0.01 ** (1 / 30))


def test_the_interval_of_a_mean_covers():
    rng, missed = np.random.default_rng(0), 0
    for _ in range(400):
        found = mean_interval(float(rng.beta(2, 6, 12).mean()), 12)
        missed += not found.low <= 0.25 <= found.high
    assert missed <= 20


def test_the_bound_spends_delta_on_the_grid_the_draws_and_the_theorem():
    confidence = Confidence(0.05)
    assert len(GRID) * confidence.theorem + confidence.draws == pytest.approx(0.05)
    kl = Estimate(30.0, 28.0, 33.0)
    found = bound(0.1, 50, kl, 1000, confidence)
    root = math.sqrt((33.0 + math.log(2 * math.sqrt(1000) / (0.04 / len(GRID)))) / 2000)
    assert found.value == found.high == pytest.approx(upper_mean(0.1, 50, 0.01) + root)
    assert found.low == pytest.approx(0.1 + slack(kl, 1000, confidence)[0])
    assert found.low < found.value


def test_the_papers_bracket_is_above_the_kl_only_when_corrected():
    rng, below = np.random.default_rng(5), 0
    for _ in range(1000):
        values = 10.0 ** rng.uniform(-3, 1, rng.integers(2, 30))
        place = int(rng.integers(len(GRID)))
        block = exact_block(values)
        kl = kl_divergence(block, 1.0, 1)[place].value
        corrected, printed = paper_brackets(block, 1.0, 1, GRID[place])
        assert corrected.value >= kl * (1 - 1e-12)
        below += printed.value < kl
    assert below > 100


def test_the_papers_theorem_says_nothing_where_an_eigenvalue_is_not_positive():
    corrected, printed = paper_brackets(exact_block(np.array([-0.1, 1.0, 2.0])), 1.0, 10, 1.0)
    assert corrected.value is None
    assert "not positive" in corrected.reason
    # By hand: H⁺ = diag(0, 10, 20), S its entropy.
    entropy = -(1 / 3 * math.log(1 / 3) + 2 / 3 * math.log(2 / 3))
    assert printed.value == pytest.approx((1 + 3 * (0.0 + math.log(30) + math.log(3) - entropy)) / 2)


def test_the_clamped_mass_is_the_share_of_the_negative_eigenvalues():
    found = clamped_mass(exact_block(np.array([-1.0, 0.0, 3.0])))
    assert found.exact
    assert found.value == pytest.approx(0.25)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_a_sampled_block_covers_the_dense_kl(seed):
    operator = DenseOperator(network_like(600, seed=seed), seed=seed)
    block = solve(operator, max_matvecs=150, seed=seed).spectrum
    assert block.method == "lanczos"
    truth = kl_divergence(exact_block(operator.eigenvalues), NORM, ITEMS)
    for kl, true in zip(kl_divergence(block, NORM, ITEMS), truth, strict=True):
        assert kl.low <= true.value <= kl.high
        assert kl.high - kl.low < 0.75 * true.value
    true_share = -operator.eigenvalues[operator.eigenvalues < 0].sum() / np.abs(operator.eigenvalues).sum()
    assert clamped_mass(block).low <= true_share <= clamped_mass(block).high
