"""Gauss rules from Lanczos coefficients, and the exact weights of what has converged."""

import dataclasses
import math

import numpy as np
import pytest
from small_matrices import CHI_SQUARE, dense_lanczos, sampled_block, spectral_weights, tridiagonal

from hessent.measures.functionals import SpectralSums
from hessent.measures.quadrature import Rule, gauss_rule, gauss_rules, steps_taken, with_exact_weights


def run_on(values, start, steps):
    alphas, betas, _ = dense_lanczos(values, start, steps)
    return alphas, betas


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_a_rule_of_m_nodes_integrates_polynomials_up_to_degree_2m_minus_1(steps):
    rng = np.random.default_rng(steps)
    values, start = rng.uniform(-1, 1.3, 60), rng.standard_normal(60)
    mass = spectral_weights(np.eye(60), start)
    alphas, betas = run_on(values, start, steps)
    rule = gauss_rule(alphas, betas, steps)
    assert rule.weights.sum() == pytest.approx(1.0, rel=1e-12)
    for degree in range(2 * steps):
        exact = float((mass * values**degree).sum())
        assert float((rule.weights * rule.nodes**degree).sum()) == pytest.approx(exact, rel=1e-10, abs=1e-13)
    # One degree further it misses by the square of the product of all betas, no more and no less.
    missed = float((mass * values ** (2 * steps)).sum()) - float((rule.weights * rule.nodes ** (2 * steps)).sum())
    assert missed == pytest.approx(float(np.prod(betas**2)), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1.0, 1e4, 1e30])
def test_nodes_and_residuals_scale_with_the_matrix_and_weights_do_not(scale):
    rng = np.random.default_rng(0)
    values, start = rng.standard_normal(50), rng.standard_normal(50)
    alphas, betas = run_on(values, start, 12)
    plain, scaled = gauss_rule(alphas, betas, 12), gauss_rule(scale * alphas, scale * betas, 12)
    assert scaled.nodes == pytest.approx(scale * plain.nodes, rel=1e-10, abs=1e-12 * scale)
    assert scaled.weights == pytest.approx(plain.weights, abs=1e-12)
    assert scaled.residuals == pytest.approx(scale * plain.residuals, rel=1e-6, abs=1e-12 * scale)


def test_residuals_are_those_of_the_ritz_vectors():
    rng = np.random.default_rng(1)
    A = rng.standard_normal((70, 70))
    A = A + A.T
    alphas, betas, Q = dense_lanczos(A, rng.standard_normal(70), 25)
    theta, S = np.linalg.eigh(tridiagonal(alphas, betas))
    actual = np.linalg.norm(A @ Q @ S - Q @ S * theta, axis=0)
    rule = gauss_rule(alphas, betas, 25)
    assert rule.nodes == pytest.approx(theta, rel=1e-10, abs=1e-10)
    assert rule.residuals == pytest.approx(actual, rel=1e-6, abs=1e-11)


def test_a_shorter_rule_uses_the_leading_coefficients_alone():
    block = sampled_block(np.linspace(0, 1, 80), probes=2, steps=15)
    betas = np.column_stack([block.probes.betas, block.probes.last_betas])
    for probe, rule in enumerate(gauss_rules(block.probes, 6)):
        alone = gauss_rule(block.probes.alphas[probe, :6], betas[probe, :6], 6)
        np.testing.assert_array_equal(rule.nodes, alone.nodes)
        np.testing.assert_array_equal(rule.residuals, alone.residuals)


def test_a_closed_recurrence_gives_the_measure_itself_however_long_the_padding():
    values = np.repeat([1.0, 4.0, 9.0], 20)
    start = np.random.default_rng(2).standard_normal(60)
    alphas, betas = run_on(values, start, 3)
    padded_alphas, padded_betas = np.r_[alphas, np.zeros(5)], np.r_[betas[:2], np.zeros(6)]
    assert steps_taken(padded_betas) == 3
    rule = gauss_rule(padded_alphas, padded_betas, 8)
    mass = spectral_weights(np.eye(60), start)
    assert rule.nodes == pytest.approx([1.0, 4.0, 9.0])
    assert rule.weights == pytest.approx([mass[values == x].sum() for x in (1.0, 4.0, 9.0)])
    assert not rule.residuals.any()


def test_an_isolated_converged_value_gets_one_over_d_and_the_rest_shares_what_is_left():
    d = 250
    values = np.r_[np.linspace(-1, 1, d - 2), 10.0, -6.0]
    rules = gauss_rules(sampled_block(values, probes=4, steps=25).probes, 25)
    exact = with_exact_weights(rules, d)
    for before, after in zip(rules, exact, strict=True):
        known = np.abs(before.nodes) > 5
        assert known.sum() == 2
        assert after.weights[known] == pytest.approx([1 / d, 1 / d], rel=1e-14)
        assert after.weights.sum() == pytest.approx(1.0, rel=1e-13)
        share = after.weights[~known] / before.weights[~known]
        assert share == pytest.approx(np.full(len(share), share[0]), rel=1e-9)
        np.testing.assert_array_equal(after.nodes, before.nodes)


def rules_of_two_nodes(masses, *, residual=0.0, near=1.0):
    """One rule per mass: it lies on a node at 10, the rest of the mass at `near`."""
    return [Rule(np.array([near, 10.0]), np.array([1 - mass, mass]), np.array([5.0, residual])) for mass in masses]


def test_a_value_that_is_unconverged_in_one_probe_keeps_its_random_weights():
    d, masses = 100, [0.01, 0.02, 0.005, 0.013]
    assert with_exact_weights(rules_of_two_nodes(masses), d)[0].weights[1] == 1 / d
    spoiled = rules_of_two_nodes(masses[:3]) + rules_of_two_nodes(masses[3:], residual=0.2)
    for rule, mass in zip(with_exact_weights(spoiled, d), masses, strict=True):
        assert rule.weights[1] == mass


def test_a_value_with_a_neighbour_keeps_its_random_weights():
    masses = [0.01, 0.02, 0.005, 0.013]
    for rule, mass in zip(with_exact_weights(rules_of_two_nodes(masses, near=9.95), 100), masses, strict=True):
        assert rule.weights[1] == mass


@pytest.mark.parametrize("probes", [1, 2, 4, 16])
def test_the_guard_sits_at_the_upper_ten_thousandth_of_chi_square(probes):
    d = 1000
    for share, replaced in ((0.999, True), (1.001, False)):
        mass = share * CHI_SQUARE[probes] / probes / d
        weight = with_exact_weights(rules_of_two_nodes([mass] * probes), d)[0].weights[1]
        assert bool(weight == 1 / d) == replaced


def test_where_the_vectors_were_compared_only_simple_values_get_exact_weights():
    d, masses = 100, [0.012, 0.02, 0.005, 0.013]
    rules = rules_of_two_nodes(masses, residual=0.05)
    for simple, exact in (
        ([10.0], True),
        ([3.0, 10.14, 50.0], True),  # within 1e-2 of the value and the residual 0.05
        ([3.0, 10.16, 50.0], False),
        ([9.84], False),
        ([], False),
    ):
        weights = with_exact_weights(rules, d, np.array(simple))[0].weights
        assert bool(weights[1] == 1 / d) == exact, simple
    # The guard still has the last word.
    heavy = rules_of_two_nodes([0.3] * 4)
    assert with_exact_weights(heavy, d, np.array([10.0]))[0].weights[1] == 0.3


def test_simple_values_of_the_runs_reach_the_measures():
    d = 250
    block = sampled_block(np.r_[np.linspace(-1, 1, d - 2), 10.0, -6.0], probes=4, steps=25)
    moment = {}
    for name, simple in (("guard alone", None), ("both", [-6.0, 10.0]), ("none", [])):
        known = None if simple is None else np.array(simple)
        runs = dataclasses.replace(block.probes, simple=known)
        moment[name] = SpectralSums(dataclasses.replace(block, probes=runs), [np.square]).spread(lambda s: s[0])
    assert moment["both"] == moment["guard alone"]
    assert moment["none"].probes > 3 * moment["both"].probes


def caught_share(multiplicity, probes, trials, *, seed=0):
    """How often the guard takes an eigenvalue of the given multiplicity for a cluster."""
    rng, d, caught = np.random.default_rng(seed), 1000, 0
    for _ in range(trials):
        inside, outside = rng.chisquare(multiplicity, probes), rng.chisquare(d - multiplicity, probes)
        masses = inside / (inside + outside)
        caught += with_exact_weights(rules_of_two_nodes(masses), d)[0].weights[1] != 1 / d
    return caught / trials


def test_the_guard_lets_single_eigenvalues_pass_and_catches_clusters_as_often_as_chi_square_says():
    assert caught_share(1, 4, 500) <= 0.004
    # Σ d·w over q probes of an M-fold eigenvalue follows χ² with q·M degrees of freedom.  By the incomplete gamma
    # function of integer order: P(χ²_2j > x) = exp(−x/2) Σ_{i<j} (x/2)^i / i!.
    for multiplicity, probes in ((2, 4), (2, 16), (3, 16), (8, 4), (12, 4)):
        half = CHI_SQUARE[probes] / 2
        j = multiplicity * probes // 2
        expected = math.exp(-half) * math.fsum(half**i / math.factorial(i) for i in range(j))
        found = caught_share(multiplicity, probes, 500, seed=multiplicity)
        assert abs(found - expected) <= 3.5 * math.sqrt(expected * (1 - expected) / 500) + 0.004


def test_exact_weights_take_the_outliers_scatter_out_of_the_trace():
    d = 200
    values = np.r_[np.linspace(0, 1, d - 1), 40.0]
    plain, mended = [], []
    for seed in range(25):
        rules = gauss_rules(sampled_block(values, probes=2, steps=12, seed=seed).probes, 12)
        plain += [d * float((rule.weights * rule.nodes).sum()) for rule in rules]
        mended += [d * float((rule.weights * rule.nodes).sum()) for rule in with_exact_weights(rules, d)]
    # A unit vector uniform on the sphere has the variance 2 Σ (λ − mean)²; the outlier no longer contributes to it.
    bulk = values[:-1]
    assert np.std(plain) == pytest.approx(math.sqrt(2 * ((values - values.mean()) ** 2).sum()), rel=0.35)
    assert np.std(mended) == pytest.approx(math.sqrt(2 * ((bulk - bulk.mean()) ** 2).sum()), rel=0.35)
    assert np.mean(mended) == pytest.approx(values.sum(), rel=0.02)
