"""Products are counted one by one, and no budget is ever exceeded."""

import functools

import numpy as np
import pytest
from oracles import DenseOperator, network_like
from small_matrices import exact_block, sampled_block, solve, solver_for

from hessent.eigensolver.requests import answer
from hessent.eigensolver.settings import SolverSettings, first_plan
from hessent.eigensolver.widths import widths
from hessent.measures.registry import compute_measures
from hessent.measures.trace import abs_trace

BUDGETS = (1, 2, 3, 4, 5, 6, 7, 10, 20, 50, 99, 150, 200, 301)


@functools.cache
def operator_of(name):
    return DenseOperator(
        {
            "network": network_like(300),
            "repeated": np.r_[np.full(5, 10.0), 9.0, 8.0, 7.0, np.linspace(0.01, 1.0, 192)],
            "flat": np.linspace(1.0, 2.0, 150),
            "tiny": np.arange(1.0, 6.0),
            "zero": np.zeros(40),
        }[name]
    )


@pytest.mark.parametrize("rtol", [0.05, 0.0])
@pytest.mark.parametrize("name", ["network", "repeated", "flat", "tiny", "zero"])
def test_a_budget_is_never_exceeded_and_every_product_is_counted(name, rtol):
    operator = operator_of(name)
    for budget in BUDGETS if rtol else BUDGETS[::3]:
        block = solve(operator, max_matvecs=budget, rtol=rtol).spectrum
        assert block.num_matvecs == operator.num_matvecs, budget
        assert 1 <= block.num_matvecs <= budget
        compute_measures(block)


@pytest.mark.parametrize("settings", [{"num_probes": 5}, {"num_steps": 60}, {"num_probes": 6, "num_steps": 25}])
def test_a_budget_holds_against_probes_and_steps_asked_for(settings):
    operator = operator_of("network")
    for budget in (1, 4, 30, 100, 200):
        block = solve(operator, max_matvecs=budget, **settings).spectrum
        assert block.num_matvecs == operator.num_matvecs <= budget


def test_products_spent_on_checks_are_part_of_the_budget():
    operator = operator_of("network")
    block = solve(operator, max_matvecs=100, spent=9).spectrum
    assert block.num_matvecs == operator.num_matvecs + 9 <= 100


def test_products_are_counted_through_every_route():
    for name in ("network", "repeated", "tiny"):
        for settings in ({}, {"num_probes": 3, "num_steps": 20}, {"basis_memory": 1}, {"method": "exact"}):
            operator = operator_of(name)
            operator.num_matvecs = 0
            solver = solver_for(operator, **settings)
            answer(solver.first_look(), operator)
            answer(solver.finish(), operator)
            assert solver.spectrum.num_matvecs == operator.num_matvecs, (name, settings)


def test_no_plan_exceeds_its_budget_or_starts_too_short_without_need():
    for size in (1, 2, 3, 50, 10**6):
        for budget in (*range(1, 300, 7), 600, 601, 1000, 1500, 2000, 3000, 10**4):
            for asked in ({}, {"num_probes": 20}, {"num_steps": 500}, {"num_probes": 4, "num_steps": 30}):
                plan = first_plan(SolverSettings(max_matvecs=budget, **asked), size, 0)
                assert plan.search + plan.probes * plan.steps <= budget
                assert plan.search >= 0
                assert min(plan.probes, plan.steps) >= 1
                if budget >= 300 and size >= 50 and not asked:
                    assert (plan.probes, plan.steps) >= (4, 40), (budget, plan)


def test_what_is_fixed_by_hand_is_kept():
    block = solve(operator_of("network"), num_probes=5, num_steps=33).spectrum
    assert (block.probes.num_probes, block.probes.num_steps) == (5, 33)
    # Where the budget is short, the search gives way first.
    short = first_plan(SolverSettings(num_probes=4, num_steps=30, max_matvecs=150), 10**6, 0)
    assert (short.search, short.probes, short.steps) == (30, 4, 30)
    plan = first_plan(SolverSettings(num_probes=10), 10**6, 0)
    assert (plan.probes, plan.steps >= 40) == (10, True)


@pytest.mark.parametrize("rtol", [0.2, 0.05, 0.01])
def test_a_met_tolerance_is_met_by_both_measures(rtol):
    block = solve(operator_of("network"), rtol=rtol, max_matvecs=600).spectrum
    measures = compute_measures(block)
    assert block.converged
    assert block.status == "tolerance met"
    for name in ("entropy_gap", "abs_trace"):
        assert measures[name].half_width <= rtol * measures[name].value * (1 + 1e-9)


def test_an_unmet_tolerance_is_said():
    block = solve(operator_of("flat"), rtol=1e-5, max_matvecs=120).spectrum
    assert not block.converged
    assert block.status == "budget spent"
    by_hand = solve(operator_of("flat"), rtol=1e-5, num_probes=4, num_steps=12).spectrum
    assert (by_hand.converged, by_hand.status) == (False, "probes and steps as asked")


def test_a_tolerance_of_zero_is_never_met_and_still_ends():
    # Two distinct values: two steps of eight probes close the space, so that nothing can be made longer.
    operator = DenseOperator(np.repeat([1.0, 3.0], 30))
    block = solve(operator, rtol=0.0).spectrum
    assert (block.converged, block.status) == (False, "the Krylov space is invariant")
    assert block.num_matvecs == operator.num_matvecs == 16


def test_more_budget_gives_narrower_intervals():
    operator = operator_of("network")
    widths_by_budget = [
        [abs_trace(solve(operator, seed=s, rtol=0.0, max_matvecs=b).spectrum).half_width for s in range(3)]
        for b in (40, 150, 300)
    ]
    few, some, many = np.median(widths_by_budget, axis=1)
    assert few > 2 * some > 10 * many


def test_widths_are_the_wider_relative_half_width():
    block = sampled_block(network_like(150), probes=4, steps=20, deflated=10)
    measures, width = compute_measures(block), widths(block)
    relative = [measures[name].half_width / measures[name].value for name in ("entropy_gap", "abs_trace")]
    assert width.total == pytest.approx(max(relative))
    assert width.sampling + width.truncation == pytest.approx(width.total)
    assert width.meets(width.total * 1.01)
    assert not width.meets(width.total * 0.99)
    assert not width.meets(0.0)
    assert widths(exact_block(np.zeros(4))).total == 0.0


@pytest.mark.parametrize("vectors", [200, 10_000])
@pytest.mark.parametrize("budget", [10, 60, 150])
def test_a_first_look_counts_into_the_budget_and_leaves_enough_of_it(budget, vectors):
    operator = DenseOperator(np.r_[50.0, 20.0, np.repeat(np.geomspace(1.0, 1e-6, 30), 20)])
    solver = solver_for(operator, max_matvecs=budget, rtol=0.0, basis_memory=8 * vectors * operator.size)
    answer(solver.first_look(), operator)
    answer(solver.finish(), operator)
    assert operator.num_matvecs == solver.spectrum.num_matvecs <= budget
    assert solver.spectrum.probes.num_probes >= 2
    assert solver.spectrum.probes.num_probes * solver.spectrum.probes.num_steps >= budget // 3
