"""Differences between two runs: their algebra, when they are paired, and what their intervals are made of."""

import dataclasses
import math

import numpy as np
import pytest
from grouped_matrices import average, exact_with_groups, spiked_groups, symmetric_groups, without
from oracles import network_like
from small_matrices import STUDENT_T, dense_lanczos, exact_block, sampled_block, solve
from small_matrices import MatrixOperator as Matrix

from hessent.estimate import Estimate
from hessent.measures.difference import unpaired_difference
from hessent.measures.paired import difference, differences
from hessent.measures.registry import compute_measures, measure_names, tau
from hessent.measures.trace import abs_trace_spread
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import ProbeRuns

ITEMS = (8, 8, 8, 8)
SAME = {"same_seed": True, "same_samples": True}
SMOOTH = ("trace", "abs_trace", "entropy", "entropy_gap", "effective_rank")


def runs_on(matrix, starts, steps, **changes):
    """A block of Lanczos runs of the given start vectors (in columns), nothing deflated."""
    values = np.linalg.eigvalsh(matrix)
    runs = [dense_lanczos(matrix, start, steps)[:2] for start in starts.T]
    alphas, betas = (np.array([run[part] for run in runs]) for part in (0, 1))
    block = BlockSpectrum(
        name="block",
        size=len(matrix),
        parameters=("weight",),
        method="lanczos",
        num_matvecs=alphas.size,
        converged=False,
        status="sampled",
        noise=0.0,
        probes=ProbeRuns(alphas, betas[:, :-1], betas[:, -1]),
        lambda_max=(float(values[-1]), 0.0),
        lambda_min=(float(values[0]), 0.0),
    )
    return dataclasses.replace(block, **changes)


def two_matrices(size=40, step=0.02, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    first = (basis * np.geomspace(1e-3, 10, size)) @ basis.T
    change = np.eye(size) + step * rng.standard_normal((size, size)) / math.sqrt(size)
    return first, change @ first @ change.T, rng.standard_normal((size, 4))


def sampled_pair(steps=12, **changes):
    first, second, starts = two_matrices()
    return runs_on(second, starts, steps, **changes), runs_on(first, starts, steps, **changes)


def trace_only(estimates):
    block = exact_block(np.ones(50))
    return dataclasses.replace(block, method="hutch++", eigenvalues=None, trace_estimates=np.asarray(estimates))


def grouped_pair(seed=0, items=ITEMS):
    """Two exact blocks of the same groups of samples, each group a little other in the second."""
    rng = np.random.default_rng(seed)
    first = symmetric_groups(len(items), 10, rng)
    second = first + 0.05 * symmetric_groups(len(items), 10, rng)
    return second, first


def joint_pair():
    """Two near operators whose probes share a Krylov space, with ratios that are brackets."""
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.standard_normal((160, 160)))[0]
    matrices = [(basis * values) @ basis.T for values in (_NEAR_BULK, _BULK)]
    return tuple(
        solve(Matrix((matrix + matrix.T) / 2), seed=1, max_matvecs=60, rtol=0.0).spectrum for matrix in matrices
    )


_BULK = np.r_[np.geomspace(20, 5, 6), np.random.default_rng(1).standard_normal(154)]
_NEAR_BULK = _BULK + 0.01 * np.random.default_rng(2).random(160)
PAIRS = {
    "joint": joint_pair,
    "near": sampled_pair,
    "unrelated": lambda: (sampled_block(network_like(60), seed=3), sampled_block(np.linspace(-1, 4, 60), seed=3)),
    "other steps": lambda: (sampled_pair(12)[0], sampled_pair(9)[1]),
    "one exact": lambda: (exact_block(np.geomspace(1e-3, 9, 40)), sampled_pair()[1]),
    "exact": lambda: (exact_block([3.0, 1.0, -0.2]), exact_block([2.0, 1.5, -0.1])),
    "groups": lambda: tuple(exact_with_groups(matrices, ITEMS) for matrices in grouped_pair()),
    "trace": lambda: (trace_only([5.0, 5.2, 4.9]), trace_only([4.0, 4.3, 3.8])),
    "zero": lambda: (exact_block(np.zeros(3)), exact_block([2.0, 1.5, -0.1])),
}


def negated(own):
    def ends(number):
        return tuple(None if end is None else -end for end in (number.value, number.high, number.low))

    population = None if own.population is None else ends(own.population)
    return (*ends(own), own.exact, own.paired, population)


def as_it_stands(own):
    population = own.population and (own.population.value, own.population.low, own.population.high)
    return (own.value, own.low, own.high, own.exact, own.paired, population)


@pytest.mark.parametrize("alpha", [1.0, 0.0, 0.5])
@pytest.mark.parametrize("same_samples", [True, False])
@pytest.mark.parametrize("pair", PAIRS)
def test_swapping_the_runs_flips_every_sign_and_nothing_else(pair, same_samples, alpha):
    run, reference = PAIRS[pair]()
    options = {"same_seed": True, "same_samples": same_samples, "alpha": alpha}
    forth, back = differences(run, reference, **options), differences(reference, run, **options)
    assert tuple(forth) == measure_names()
    for name, found in forth.items():
        assert as_it_stands(back[name]) == negated(found), name


@pytest.mark.parametrize("pair", PAIRS)
def test_a_run_against_itself_differs_by_zero_with_zero_width(pair):
    run = PAIRS[pair]()[0]
    own = compute_measures(run)
    copy = dataclasses.replace(run, status="read from a file", num_matvecs=7)
    for name, found in differences(run, copy, **SAME).items():
        if own[name].value is None:
            assert found.value is None
            assert found.reason == own[name].reason
        else:
            assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
            assert (found.population is None) == (own[name].population is None)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_value_is_the_difference_of_the_two_values_shown_and_lies_in_its_interval(pair):
    run, reference = PAIRS[pair]()
    own, other = compute_measures(run), compute_measures(reference)
    for name, found in differences(run, reference, **SAME).items():
        if found.value is not None:
            # The probes' joint spaces tell the difference better than both numbers do.
            better = found.paired and run.space is not None
            slack = math.hypot(own[name].half_width, other[name].half_width) if better else 0.0
            assert abs(found.value - (own[name].value - other[name].value)) <= slack
            assert -math.inf if found.low is None else found.low <= found.value
            assert found.high is None or found.value <= found.high
        else:
            assert found.reason


def test_the_trace_is_paired_by_leaving_each_probe_out_of_both():
    run, reference = sampled_pair(3)  # steps, after which no Ritz value has converged
    size = run.size
    each = size * (run.probes.alphas[:, 0] - reference.probes.alphas[:, 0])  # what each probe tells of the trace
    expected = STUDENT_T[3] * each.std(ddof=1) / math.sqrt(4)
    found = difference(run, reference, "trace", **SAME)
    assert found.paired
    assert found.reason is None
    assert found.half_width == pytest.approx(expected, rel=1e-6)
    apart = difference(run, reference, "trace", same_seed=False, same_samples=True)
    halves = [compute_measures(block)["trace"].half_width for block in (run, reference)]
    assert apart.half_width == pytest.approx(math.hypot(*halves), rel=1e-6)


def test_the_noise_of_the_products_counts_twice_in_a_difference():
    floor = 1e-4
    quiet, noisy = (difference(*sampled_pair(noise_floor=f), "trace", **SAME) for f in (0.0, floor))
    assert noisy.paired
    assert noisy.half_width - quiet.half_width == pytest.approx(2 * math.sqrt(40) * floor)


def test_after_other_numbers_of_steps_both_truncations_count_in_full():
    (run, _), (_, reference) = sampled_pair(12), sampled_pair(9)
    found = difference(run, reference, "abs_trace", **SAME)
    least = sum(abs_trace_spread(block).quadrature for block in (run, reference))
    assert found.half_width >= least > 0.0


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {"same_seed": False}, "seeds"),
        ({}, {"same_samples": False}, "data"),
        ({"name": "other"}, {}, "block"),
        ({"size": 41}, {}, "sizes"),
        ({"probes": 3}, {}, "probes"),
    ],
)
def test_without_the_same_probes_on_the_same_data_nothing_is_paired_and_the_reason_said(change, options, words):
    run, reference = sampled_pair()
    if "probes" in change:
        runs = run.probes
        change = {"probes": ProbeRuns(runs.alphas[:3], runs.betas[:3], runs.last_betas[:3])}
    found = differences(dataclasses.replace(run, **change), reference, **(SAME | options))
    for name in SMOOTH:
        assert not found[name].paired
        assert words in found[name].reason
        assert found[name].half_width > 0.0


def test_an_exact_block_beside_a_sampled_one_leaves_the_sampled_ones_interval():
    run, reference = PAIRS["one exact"]()
    other = compute_measures(reference)
    found = differences(run, reference, **SAME)
    for name in ("trace", "abs_trace", "entropy_gap"):
        assert not found[name].paired
        assert "exact" in found[name].reason
        assert found[name].half_width == pytest.approx(other[name].half_width)


def test_exact_blocks_have_exact_differences_on_other_data_too():
    for same_samples in (True, False):
        found = differences(*PAIRS["exact"](), same_seed=False, same_samples=same_samples)
        assert (found["trace"].low, found["trace"].high) == (found["trace"].value,) * 2
        assert found["trace"].value == pytest.approx(3.8 - 3.4)
        assert found["trace"].exact
        assert found["trace"].paired is same_samples


@pytest.mark.parametrize("pair", ["near", "unrelated", "other steps", "trace"])
def test_no_difference_is_less_certain_than_with_independent_errors(pair):
    run, reference = PAIRS[pair]()
    apart = differences(run, reference, same_seed=False, same_samples=True)
    for name, found in differences(run, reference, **SAME).items():
        if found.value is not None:
            assert found.half_width <= apart[name].half_width
            assert (found.half_width < apart[name].half_width) == found.paired


def test_brackets_and_residuals_add_up_where_sampling_errors_do_not():
    run, reference = sampled_pair()
    run = dataclasses.replace(run, lambda_max=(10.0, 0.3))
    reference = dataclasses.replace(reference, lambda_max=(9.0, 0.2))
    found = differences(run, reference, **SAME)
    top = found["lambda_max"]
    assert (top.low, top.high) == (pytest.approx(0.8), pytest.approx(1.3))
    own, other = compute_measures(run)["positive_ratio"], compute_measures(reference)["positive_ratio"]
    ratio = found["positive_ratio"]
    assert ratio.half_width > 0.0
    assert own.low - other.high <= ratio.low <= ratio.value <= ratio.high <= own.high - other.low
    assert not ratio.paired
    assert ratio.reason


def test_ratios_are_paired_by_their_middles_where_the_probes_share_a_space():
    run, reference = joint_pair()
    found, apart = (
        differences(run, reference, same_seed=same_seed, same_samples=True) for same_seed in (True, False)
    )
    for name in ("positive_ratio", "negative_ratio", "zero_ratio"):
        assert found[name].paired
        assert 0.0 < found[name].half_width < 0.5 * apart[name].half_width
        truth = shares_beyond(run, _NEAR_BULK)[name] - shares_beyond(reference, _BULK)[name]
        assert found[name].low <= truth <= found[name].high


def test_a_difference_of_lower_bounds_is_not_passed_off_as_a_bound():
    found = differences(*sampled_pair(), **SAME)["condition_lower_ritz"]
    assert found.value is None
    assert "bound" in found.reason


def test_what_noise_spoils_in_one_run_is_unknown_in_the_difference():
    run, reference = sampled_pair()
    found = differences(dataclasses.replace(run, noise=1e-3), reference, **SAME)
    assert found["entropy_gap"].value is None
    assert "noise" in found["entropy_gap"].reason
    assert found["trace"].value is not None


def test_of_estimates_alone_half_widths_add():
    found = unpaired_difference(Estimate(3.0, 2.5, 3.1), Estimate(1.0, 0.9, 1.3), "from a table")
    assert (found.value, found.low, found.high) == (2.0, pytest.approx(1.2), pytest.approx(2.2))
    assert not found.paired
    assert unpaired_difference(Estimate(3.0, None, 3.1), Estimate(1.0, 0.9, 1.3), "from a table").low is None
    assert unpaired_difference(Estimate.unknown("noise"), Estimate(1.0, 0.9, 1.3), "x").reason == "noise"
    ends = {"value": 2.0, "low": found.low, "high": found.high}
    assert found.to_json() == ends | {"exact": False, "paired": False, "reason": "from a table"}


def test_the_population_difference_leaves_the_same_group_out_of_both():
    second, first = grouped_pair()
    run, reference = (exact_with_groups(matrices, ITEMS) for matrices in (second, first))
    left_out = np.array(
        [
            np.linalg.eigvalsh(without(second, ITEMS, j))[0] - np.linalg.eigvalsh(without(first, ITEMS, j))[0]
            for j in range(4)
        ]
    )
    error = math.sqrt(3 / 4 * float(((left_out - left_out.mean()) ** 2).sum()))
    found = difference(run, reference, "lambda_min", **SAME)
    assert found.exact
    assert found.population.half_width == pytest.approx(STUDENT_T[3] * error)
    apart = difference(run, reference, "lambda_min", same_seed=True, same_samples=False).population
    halves = [compute_measures(block)["lambda_min"].population.half_width for block in (run, reference)]
    assert apart.half_width == pytest.approx(math.hypot(*halves))
    whole = np.linalg.eigvalsh(average(second, ITEMS))[0] - np.linalg.eigvalsh(average(first, ITEMS))[0]
    assert found.value == pytest.approx(whole)


def test_population_differences_hold_the_difference_of_two_populations():
    # The second run sees every sample stretched along one axis: what the samples do to both cancels.
    size, items, spike, draws = 12, (60, 60, 60, 60), 4.0, 60
    stretch = np.diag(np.r_[1.1, np.ones(size - 1)])
    truth = {"trace": 0.21 * spike, "lambda_max": 0.21 * spike}
    rng, held, paired, apart = np.random.default_rng(1), dict.fromkeys(truth, 0), [], []
    for _ in range(draws):
        first = spiked_groups(size, items, spike, rng)
        blocks = [exact_with_groups(matrices, items) for matrices in (stretch @ first @ stretch, first)]
        found = differences(*blocks, **SAME)
        for name, number in truth.items():
            held[name] += found[name].population.low <= number <= found[name].population.high
        paired.append(found["trace"].population.half_width)
        independent = differences(*blocks, same_seed=True, same_samples=False)["trace"]
        apart.append(independent.population.half_width)
    assert min(held.values()) >= 52
    assert np.median(apart) >= 3 * np.median(paired)


def near_operators(size, step):
    """Two operators a few per cent apart at every scale of their spectrum."""
    rng = np.random.default_rng(8)
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    first = (basis * network_like(size)) @ basis.T
    change = np.eye(size) + step * rng.standard_normal((size, size)) / math.sqrt(size)
    second = change @ first @ change.T
    return Matrix((second + second.T) / 2), Matrix((first + first.T) / 2)


def unrelated_operators(size, step):
    """The same spectrum in another basis."""
    rng = np.random.default_rng(9)
    first = near_operators(size, step)[1]
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    second = (basis * first.eigenvalues) @ basis.T
    return Matrix((second + second.T) / 2), first


def shares_beyond(block, values):
    threshold = tau(block)
    above, below = float((values > threshold).mean()), float((values < -threshold).mean())
    return {"positive_ratio": above, "negative_ratio": below, "zero_ratio": 1.0 - above - below}


def truths(values):
    shares = np.abs(values) / np.abs(values).sum()
    shares = shares[shares > 0]
    gap = math.log(len(values)) + float((shares * np.log(shares)).sum())
    return {
        "trace": values.sum(),
        "abs_trace": np.abs(values).sum(),
        "entropy": math.log(len(values)) - gap,
        "entropy_gap": gap,
        "effective_rank": len(values) * math.exp(-gap),
    }


def record(operators, seeds, budget):
    """Share of seeds that hold the true difference, share paired, and the gain in width, by measure."""
    run, reference = operators
    expected, other = truths(run.eigenvalues), truths(reference.eigenvalues)
    rows = {name: [] for name in SMOOTH}
    for seed in range(seeds):
        blocks = [solve(operator, seed=seed, max_matvecs=budget, rtol=0.0).spectrum for operator in operators]
        found = differences(*blocks, **SAME)
        apart = differences(*blocks, same_seed=False, same_samples=True)
        for name, kept in rows.items():
            truth = expected[name] - other[name]
            slack = 1e-9 * abs(expected[name])
            holds = found[name].low - slack <= truth <= found[name].high + slack
            kept.append((holds, found[name].paired, apart[name].half_width / found[name].half_width))
    return {name: (*np.mean(kept, axis=0)[:2], np.median(kept, axis=0)[2]) for name, kept in rows.items()}


def test_paired_intervals_hold_the_difference_of_near_operators_and_are_three_times_narrower():
    for name, (holds, paired, gain) in record(near_operators(160, 0.02), 12, 80).items():
        assert holds >= 0.75, name
        assert paired >= 0.75, name
        assert gain >= 3.0, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "step", "seeds", "budget"),
    [
        (300, 0.01, 100, 100),
        (300, 0.03, 100, 100),
        (300, 0.1, 100, 100),
        (160, 0.02, 400, 80),
        (600, 0.02, 100, 90),
    ],
)
def test_paired_intervals_hold_the_difference_in_at_least_93_of_100(size, step, seeds, budget):
    for name, (holds, paired, gain) in record(near_operators(size, step), seeds, budget).items():
        assert holds >= 0.93, name
        assert paired >= 0.8, name
        assert gain >= 3.0, name


@pytest.mark.slow
def test_intervals_of_unrelated_operators_hold_in_at_least_93_of_100_and_are_no_wider_than_apart():
    for name, (holds, _, gain) in record(unrelated_operators(300, 0.01), 100, 100).items():
        assert holds >= 0.93, name
        assert gain >= 1.0, name
