"""Intervals of smooth measures against the formulas they are stated in, computed anew from the coefficients."""

import dataclasses
import math

import numpy as np
import pytest
from oracles import network_like, true_gap
from small_matrices import STUDENT_T, exact_block, sampled_block, tridiagonal

from hessent.measures.entropy import entropy_gap
from hessent.measures.quadrature import gauss_rules, with_exact_weights
from hessent.measures.registry import compute_measures, error_budget
from hessent.measures.trace import abs_trace, trace
from hessent.spectra.recurrences import ShorterSpectrum


def bulk():
    """Evenly spread, of both signs: nothing in it is isolated, so no weight is replaced."""
    return np.linspace(-0.8, 1.2, 400)


def largest_of(block):
    return max(abs(block.lambda_max[0]), abs(block.lambda_min[0]))


def sums_per_probe(block, functions, steps):
    """Σ f(λ / scale) over the complement: the median over each probe's last Gauss rules. Shape (f, p)."""
    scale = largest_of(block)
    d = block.size - len(block.outliers.values)
    betas = np.column_stack([block.probes.betas, block.probes.last_betas])
    found = np.zeros((len(functions), block.probes.num_probes))
    for probe, (alphas, b) in enumerate(zip(block.probes.alphas, betas, strict=True)):
        each = []
        for length in range(max(steps - 12, steps // 2) + 1, steps + 1):
            theta, S = np.linalg.eigh(tridiagonal(alphas[:length], b[:length]))
            each.append([d * float((S[0] ** 2 * f(theta / scale)).sum()) for f in functions])
        found[:, probe] = np.median(each, axis=0)
    return found


def interval_by_formula(block, functions, factor):
    """Return a function of a functional of the sums: (value, t · jackknife error, factor · truncation)."""
    m, probes = block.probes.num_steps, block.probes.num_probes
    fixed = np.array([f(block.outliers.values / largest_of(block)).sum() for f in functions])
    full, middle, half = (sums_per_probe(block, functions, steps) for steps in (m, round(0.7 * m), m // 2))

    def interval(functional):
        value = functional(fixed + full.mean(axis=1))
        left_out = [functional(fixed + np.delete(full, i, axis=1).mean(axis=1)) for i in range(probes)]
        error = math.sqrt((probes - 1) / probes * sum((x - np.mean(left_out)) ** 2 for x in left_out))
        shorter = [functional(fixed + part.mean(axis=1)) for part in (half, middle)]
        return value, STUDENT_T[probes - 1] * error, factor * max(abs(value - x) for x in shorter)

    return interval


def abs_log(x):
    return np.abs(x) * np.log(np.abs(x))


@pytest.mark.parametrize(("steps", "factor"), [(20, 2.5), (40, 2.5), (100, 2.5)])
@pytest.mark.parametrize("probes", [2, 4])
def test_an_interval_is_t_times_the_jackknife_error_plus_the_truncation(steps, factor, probes):
    block = sampled_block(bulk(), probes=probes, steps=steps, deflated=5)
    for length in range(steps // 4, steps + 1):
        rules = gauss_rules(block.probes, length)
        assert all(a is b for a, b in zip(with_exact_weights(rules, 395), rules, strict=True))
    n, scale = block.size, largest_of(block)
    interval = interval_by_formula(block, [lambda x: x, np.abs, abs_log, np.square], factor)
    cases = {
        "trace": (trace(block), lambda s: scale * s[0]),
        "abs_trace": (abs_trace(block), lambda s: scale * s[1]),
        "gap": (entropy_gap(block), lambda s: math.log(n) + s[2] / s[1] - math.log(s[1])),
        "gap 2": (entropy_gap(block, 2.0), lambda s: math.log(n) + math.log(s[3]) - 2 * math.log(s[1])),
    }
    budget = error_budget(block)
    for name, (found, functional) in cases.items():
        value, sampling, truncation = interval(functional)
        assert found.value == pytest.approx(value, rel=1e-9), name
        assert found.low == pytest.approx(max(value - sampling - truncation, 0.0 if name != "trace" else -1e9)), (
            name
        )
        assert found.high == pytest.approx(value + sampling + truncation), name
        if name in budget:
            assert budget[name]["probes"] == pytest.approx(sampling), name
            assert budget[name]["quadrature"] == pytest.approx(truncation, abs=1e-9 * value), name


def test_the_trace_of_a_probe_is_its_first_coefficient():
    block = sampled_block(bulk(), probes=4, steps=30, deflated=6)
    expected = block.outliers.values.sum() + 394 * block.probes.alphas[:, 0].mean()
    assert trace(block).value == pytest.approx(expected)
    # A polynomial of degree one is integrated exactly by every rule: nothing is truncated.
    assert error_budget(block)["trace"]["quadrature"] == pytest.approx(0.0, abs=1e-9)


def test_the_jackknife_of_a_mean_is_the_standard_error():
    block = sampled_block(bulk(), probes=8, steps=30)
    first = 400 * block.probes.alphas[:, 0]
    expected = STUDENT_T[7] * first.std(ddof=1) / math.sqrt(8)
    assert error_budget(block)["trace"]["probes"] == pytest.approx(expected)


def test_one_probe_alone_has_no_finite_interval():
    block = sampled_block(bulk(), probes=1, steps=30)
    estimate = trace(block)
    assert estimate.value is not None
    assert estimate.low is estimate.high is None
    assert error_budget(block)["abs_trace"]["probes"] is None


def test_an_exact_block_has_no_budget_of_errors():
    for parts in error_budget(exact_block(network_like(40))).values():
        assert parts == {"probes": 0.0, "quadrature": 0.0, "data": None, "precision": None}


def test_intervals_are_cut_to_what_is_possible():
    block = sampled_block(np.r_[np.zeros(300), np.geomspace(1e-6, 1, 20)], probes=2, steps=3)
    measures = compute_measures(block)
    assert measures["abs_trace"].low >= 0.0
    assert measures["entropy_gap"].low >= 0.0
    assert measures["entropy_gap"].high <= math.log(320)
    assert 1.0 <= measures["effective_rank"].low <= measures["effective_rank"].high <= 320 * (1 + 1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e4, 1e30])
def test_sampled_measures_scale_with_the_matrix(scale):
    plain = compute_measures(sampled_block(network_like(150), steps=20, deflated=6))
    scaled = compute_measures(sampled_block(scale * network_like(150), steps=20, deflated=6))
    for name, estimate in plain.items():
        unit = scale if name in ("trace", "abs_trace", "lambda_max", "lambda_min") else 1.0
        for end in ("value", "low", "high"):
            expected = getattr(estimate, end)
            expected = None if expected is None else pytest.approx(unit * expected, rel=1e-6, abs=1e-9 * unit)
            assert getattr(scaled[name], end) == expected, (name, end)


def test_of_a_joint_space_half_of_the_largest_change_by_cutting_it_is_truncation():
    values = network_like(200)
    block, cuts = sampled_block(values, steps=24, deflated=8), []
    for steps, deflated in ((17, 6), (12, 4)):
        cut = sampled_block(values, steps=steps, deflated=deflated)
        cuts.append(dataclasses.replace(cut, lambda_max=block.lambda_max, lambda_min=block.lambda_min))
    joint = dataclasses.replace(block, shorter=tuple(ShorterSpectrum(cut.outliers, cut.probes) for cut in cuts))
    for measure, name in ((abs_trace, "abs_trace"), (entropy_gap, "entropy_gap")):
        changes = [abs(measure(block).value - measure(cut).value) for cut in cuts]
        assert measure(joint).value == measure(block).value
        assert error_budget(joint)[name]["quadrature"] == pytest.approx(max(changes) / 2), name


def test_recurrences_that_closed_are_exact_up_to_the_probes():
    # Eight distinct values close every recurrence after eight steps; no shorter rule may be mixed in.
    values = np.repeat(np.geomspace(1e-3, 10, 8), 50)
    block = sampled_block(values, probes=4, steps=8)
    runs = dataclasses.replace(block.probes, last_betas=np.zeros(4))
    block = dataclasses.replace(block, probes=runs)
    assert error_budget(block)["entropy_gap"]["quadrature"] == 0.0
    per_probe = []
    betas = np.column_stack([runs.betas, runs.last_betas])
    for alphas, b in zip(runs.alphas, betas, strict=True):
        theta, S = np.linalg.eigh(tridiagonal(alphas, b))
        per_probe.append((S[0] ** 2 * np.array([np.abs(theta), abs_log(theta)])).sum(axis=1))
    mean = np.mean(per_probe, axis=0)
    assert entropy_gap(block).value == pytest.approx(mean[1] / mean[0] - math.log(mean[0]), rel=1e-9)
    assert abs(entropy_gap(block).value - true_gap(values)) <= entropy_gap(block).half_width


def test_extreme_ritz_values_are_inner_bounds_widened_by_residual_and_noise():
    block = sampled_block(network_like(100), steps=10, noise=2e-6)
    block = dataclasses.replace(block, lambda_max=(150.0, 3.0), lambda_min=(-0.2, 0.01))
    measures = compute_measures(block)
    slack = 2e-6 * 150.0
    top, bottom = measures["lambda_max"], measures["lambda_min"]
    assert (top.low, top.value, top.high) == pytest.approx((150.0 - slack, 150.0, 153.0 + slack))
    assert (bottom.low, bottom.value, bottom.high) == pytest.approx((-0.21 - slack, -0.2, -0.2 + slack))
