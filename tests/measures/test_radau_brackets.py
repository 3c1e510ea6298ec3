"""Brackets of the ratios: rigorous for every probe, then widened by the law of their masses."""

import numpy as np
import pytest
from oracles import network_like
from small_matrices import dense_lanczos, sampled_block, spectral_weights

from hessent.measures.beta_law import counts_beyond
from hessent.measures.quadrature import gauss_rule
from hessent.measures.radau import mass_beyond, rules_with_zero
from hessent.measures.ratios import ratios, tau
from hessent.spectra.recurrences import ProbeRuns


def runs(alphas, betas):
    """One probe's recurrence, all m betas given."""
    return ProbeRuns(alphas[None], betas[None, :-1], betas[-1:], np.zeros(0))


ROUNDING = 1e-9


def spectra():
    rng = np.random.default_rng(0)
    wigner = rng.standard_normal((120, 120))
    yield "network", network_like(150)
    yield "wigner", np.linalg.eigvalsh(wigner + wigner.T)
    yield "lattice", np.linspace(-1, 1, 101)
    yield "decades", 10.0 ** rng.uniform(-8, 1, 130)
    yield "clusters", np.repeat([-2.0, -0.1, 0.0, 0.1, 3.0], 24)


@pytest.mark.parametrize(("name", "values"), list(spectra()))
def test_the_true_mass_of_every_probe_lies_in_its_bracket(name, values):
    rng = np.random.default_rng(1)
    top = np.abs(values).max()
    thresholds = [0.0, 1e-3 * top, -1e-3 * top, 0.3 * top, float(np.median(values)), -2.0 * top, 2.0 * top]
    thresholds += [float(values[7]), float(values[-3])]  # a threshold on an eigenvalue
    for steps in (1, 2, 5, 20, 60):
        start = rng.standard_normal(len(values))
        mass = spectral_weights(np.eye(len(values)), start)
        alphas, betas, _ = dense_lanczos(values, start, steps)
        for threshold in thresholds:
            lower, upper = mass_beyond(alphas, betas, threshold)
            strictly, weakly = float(mass[values > threshold].sum()), float(mass[values >= threshold].sum())
            # A threshold that is an eigenvalue may fall on either side of it by rounding.
            near = float(mass[np.abs(values - threshold) < 1e-12 * top].sum())
            assert -ROUNDING <= lower <= strictly + near + ROUNDING, (steps, threshold)
            assert weakly - near - ROUNDING <= upper <= 1 + ROUNDING, (steps, threshold)


def test_brackets_close_in_as_the_recurrence_grows():
    values, start = network_like(150), np.random.default_rng(2).standard_normal(150)
    widths = []
    for steps in (2, 8, 32, 100):
        alphas, betas, _ = dense_lanczos(values, start, steps)
        lower, upper = mass_beyond(alphas, betas, 0.05)
        widths.append(upper - lower)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.02


def test_a_closed_recurrence_leaves_nothing_open():
    values = np.repeat([-1.0, 0.5, 2.0], 10)
    start = np.random.default_rng(3).standard_normal(30)
    mass = spectral_weights(np.eye(30), start)
    alphas, betas, _ = dense_lanczos(values, start, 4)
    assert betas[2] == 0.0
    lower, upper = mass_beyond(alphas, betas, 0.1)
    assert lower == upper == pytest.approx(float(mass[values > 0.1].sum()))


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e4, 1e30])
def test_brackets_do_not_know_the_scale(scale):
    alphas, betas, _ = dense_lanczos(network_like(90), np.random.default_rng(4).standard_normal(90), 15)
    plain = mass_beyond(alphas, betas, 0.2)
    assert mass_beyond(scale * alphas, scale * betas, scale * 0.2) == pytest.approx(plain, rel=1e-8, abs=1e-12)


def test_a_threshold_on_a_ritz_value_does_not_break_the_bracket():
    values, start = network_like(90), np.random.default_rng(5).standard_normal(90)
    mass = spectral_weights(np.eye(90), start)
    alphas, betas, _ = dense_lanczos(values, start, 12)
    T = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    for threshold in [*np.linalg.eigvalsh(T), float(alphas[0])]:
        lower, upper = mass_beyond(alphas, betas, float(threshold))
        assert lower - ROUNDING <= float(mass[values > threshold].sum()) <= upper + ROUNDING


@pytest.mark.parametrize("deflated", [0, 10])
def test_a_ratio_is_the_counted_outliers_and_what_the_mean_masses_allow(deflated):
    values, probes = np.r_[network_like(149), -120.0], 4  # an outlier on either side
    block = sampled_block(values, probes=probes, steps=12, deflated=deflated)
    threshold, d = 1e-3 * np.abs(values).max(), 150 - deflated
    assert tau(block) == pytest.approx(threshold)
    betas = np.column_stack([block.probes.betas, block.probes.last_betas])
    found = ratios(block)
    masses, counted = {}, {}
    for name, sign in (("positive_ratio", 1.0), ("negative_ratio", -1.0)):
        counted[name] = int((sign * block.outliers.values > threshold).sum())
        bounds = [mass_beyond(sign * a, b, threshold) for a, b in zip(block.probes.alphas, betas, strict=True)]
        masses[name] = np.mean(bounds, axis=0)
    masses["zero_ratio"], counted["zero_ratio"] = sum(masses.values()), sum(counted.values())
    for name, (lower, upper) in masses.items():
        ends = [counted[name] + count for count in counts_beyond(lower, upper, probes, d)]
        ends = [end / 150 if name != "zero_ratio" else 1 - end / 150 for end in ends]
        assert (found[name].low, found[name].high) == pytest.approx(tuple(sorted(ends))), name
        middle = (counted[name] + d * (lower + upper) / 2) / 150
        middle = middle if name != "zero_ratio" else 1 - middle
        assert found[name].value == pytest.approx(min(max(middle, min(ends)), max(ends))), name


def test_one_probe_alone_gives_a_wider_bracket_than_four():
    values = network_like(60)
    widths = [ratios(sampled_block(values, probes=q, steps=30))["positive_ratio"].half_width for q in (1, 4)]
    assert widths[0] > 1.3 * widths[1] > 0


@pytest.mark.parametrize("tau_rel", [1e-6, 1e-3])
def test_brackets_of_sampled_blocks_hold_the_exact_ratios(tau_rel):
    values = network_like(150)
    threshold = tau_rel * np.abs(values).max()
    truth = {
        "positive_ratio": (values > threshold).mean(),
        "negative_ratio": (values < -threshold).mean(),
        "zero_ratio": (np.abs(values) <= threshold).mean(),
    }
    held = dict.fromkeys(truth, 0)
    for seed in range(60):
        found = ratios(sampled_block(values, probes=4, steps=25, deflated=8, seed=seed), tau_rel)
        for name, share in truth.items():
            held[name] += found[name].low - ROUNDING <= share <= found[name].high + ROUNDING
    assert min(held.values()) >= 54  # 97.5 % of 60, less three standard deviations


@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_a_rule_with_a_node_at_zero_integrates_polynomials_up_to_degree_2m(steps, unit):
    rng = np.random.default_rng(steps)
    values, start = rng.uniform(-1, 1.3, 60), rng.standard_normal(60)
    mass = spectral_weights(np.eye(60), start)
    alphas, betas, _ = dense_lanczos(values, start, steps)
    (rule,) = rules_with_zero(runs(unit * alphas, unit * betas), steps)
    assert np.abs(rule.nodes).min() <= 1e-12 * unit
    assert len(rule.nodes) == steps + 1
    assert rule.weights.sum() == pytest.approx(1.0, rel=1e-12)
    for degree in range(2 * steps + 1):
        exact = float((mass * values**degree).sum())
        found = float((rule.weights * (rule.nodes / unit) ** degree).sum())
        assert found == pytest.approx(exact, rel=1e-10, abs=1e-13)


def test_where_a_gauss_node_lies_at_zero_or_the_recurrence_closed_it_is_the_gauss_rule():
    values = np.r_[-1.0, 0.0, 1.0]
    closed = dense_lanczos(values, np.ones(3), 3)
    (rule,) = rules_with_zero(runs(closed[0], np.r_[closed[1][:2], 0.0]), 3)
    assert rule.nodes == pytest.approx(values, abs=1e-12)
    even = np.r_[-np.linspace(0.1, 1.0, 20), np.linspace(0.1, 1.0, 20)]  # odd rules of it have a node at zero
    alphas, betas, _ = dense_lanczos(even, np.ones(40), 5)
    (rule,) = rules_with_zero(runs(alphas, betas), 5)
    assert rule.nodes == pytest.approx(gauss_rule(alphas, betas, 5).nodes, abs=1e-12)
