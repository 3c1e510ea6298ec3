"""The trace from exchangeable estimates, and blocks of which nothing but the trace was asked for."""

import dataclasses
import math

import numpy as np
import pytest
from oracles import network_like
from small_matrices import STUDENT_T, sampled_block

from hessent.measures.condition import condition_damped, condition_lower_ritz
from hessent.measures.functionals import scale_of
from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.measures.registry import compute_measures, error_budget, measure_names, tau
from hessent.measures.trace import negative_mass, trace
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import DataGroups


def trace_block(estimates):
    """A block of which only the trace was asked for."""
    estimates = np.asarray(estimates, dtype=np.float64)
    return BlockSpectrum(
        "block", 500, ("weight",), "hutch++", 60, True, "tolerance met", 1e-7, trace_estimates=estimates
    )


def student(estimates):
    """Mean and Student half-width, written out."""
    p = len(estimates)
    mean = math.fsum(estimates) / p
    error = math.sqrt(math.fsum((x - mean) ** 2 for x in estimates) / (p - 1) / p)
    return mean, STUDENT_T[p - 1] * error


@pytest.mark.parametrize("estimates", [[3.0, 5.0], [3.0, 5.0, 4.5, 2.0], [-1.0, 1.0, 2.0, -0.5, 0.25, 3.0]])
def test_the_mean_of_the_estimates_has_students_interval(estimates):
    mean, reach = student(estimates)
    block = trace_block(estimates)
    found = trace(block)
    assert (found.low, found.value, found.high) == pytest.approx((mean - reach, mean, mean + reach))
    assert not found.exact
    budget = error_budget(block)
    assert set(budget) == {"trace"}
    assert budget["trace"]["probes"] == pytest.approx(reach)
    assert budget["trace"]["quadrature"] == 0.0


def test_one_estimate_alone_has_no_finite_interval():
    found = trace(trace_block([4.0]))
    assert (found.value, found.low, found.high) == (4.0, None, None)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, math.inf])
def test_a_block_with_the_trace_alone_has_a_reason_for_everything_else(alpha):
    block = trace_block([3.0, 5.0, 4.0, 4.0])
    measures = compute_measures(block, alpha=alpha)
    assert tuple(measures) == measure_names()
    assert measures["trace"].value == 4.0
    for name in set(measures) - {"trace", *GRADIENT_MEASURES}:
        assert measures[name].value is measures[name].low is measures[name].high is None, name
        assert measures[name].reason == "only the trace was asked for", name
    for direct in (condition_lower_ritz(block), condition_damped(block)):
        assert direct.reason == "only the trace was asked for"
    assert math.isnan(tau(block))
    assert math.isnan(negative_mass(block))
    assert scale_of(block) == 1.0


def test_traces_of_the_data_groups_give_the_trace_alone_a_population_value():
    traces = np.array([3.0, 5.0, 4.0, 4.0])
    groups = DataGroups(np.full(4, 8), traces=traces)
    measures = compute_measures(dataclasses.replace(trace_block([3.9, 4.1]), groups=groups))
    own = measures["trace"]
    reach = math.hypot(own.half_width, STUDENT_T[3] * traces.std(ddof=1) / 2)
    assert own.population.half_width == pytest.approx(reach)
    assert all(measures[name].population is None for name in measure_names() if name != "trace")


def test_noise_leaves_the_trace_alone_standing():
    noisy = dataclasses.replace(trace_block([3.0, 5.0, 4.0, 4.0]), noise=1e-3)
    assert compute_measures(noisy)["trace"].value == 4.0


def test_the_trace_of_the_quadrature_has_no_truncation_though_weights_become_exact():
    block = sampled_block(network_like(200), probes=4, steps=20, deflated=3)
    assert error_budget(block)["trace"]["quadrature"] == 0.0
    assert error_budget(block)["abs_trace"]["quadrature"] > 0.0


def test_intervals_of_the_quadratures_trace_hold_it():
    values, held = network_like(150), 0
    for seed in range(60):
        found = trace(sampled_block(values, probes=4, steps=20, deflated=6, seed=seed))
        held += found.low <= values.sum() <= found.high
    assert held >= 53  # 95 % of 60, less two and a half standard deviations
