"""Which way round a rule fires, for every kind of bound: by brute force, by symmetry and by monotonicity."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from judged_samples import MAIN, UNKNOWN, block, judged, rule

from hessent.estimate import Estimate
from hessent.report.checks.changes import increase, of_paired, opposite, ratio, relative_increase
from hessent.report.checks.judgement import judge, outcome_of
from hessent.report.checks.rules import KINDS, Bound

BRACKET = "lambda_max"  # combined end against end: what is decided holds at every place of both intervals
SCATTERING = "trace"
SHARES = {BRACKET: (0.0, 0.0), SCATTERING: (1.0, 1.0)}
RANK = {"violated": 0, "unsure": 1, "holds": 2}
FORMS = [(key, False) for key in KINDS] + [("max_increase", True), ("max_decrease", True)]

few = settings(max_examples=40, deadline=None, derandomize=True)

numbers = st.floats(-50, 50).filter(lambda x: x == 0 or abs(x) > 1e-3)


@st.composite
def estimates(draw, low=None):
    ends = sorted(draw(st.tuples(numbers, numbers, numbers)))
    if low is not None:
        ends = sorted(abs(end) + low for end in ends)
    if draw(st.booleans()) and draw(st.booleans()):
        return Estimate.exactly(ends[1])
    open_low, open_high = (low is None and draw(st.integers(0, 7)) == 0 for _ in "ab")
    low_end, high_end = None if open_low else ends[0], None if open_high else ends[2]
    return Estimate(ends[1], low_end, high_end)


def keeps_to(kind, relative, number, x, b):
    """Say what the bound means, in the plainest words."""
    share = abs(b) if relative else 1.0
    return {
        "max": lambda: x <= number,
        "min": lambda: x >= number,
        "max_increase": lambda: x <= b + number * share,
        "max_decrease": lambda: x >= b - number * share,
        "max_ratio": lambda: x / b <= number,
        "min_ratio": lambda: x / b >= number,
    }[kind]()


def places(estimate):
    """Return points of an interval, its ends among them; an open end reaches far."""
    low = estimate.value - 1e6 if estimate.low is None else estimate.low
    high = estimate.value + 1e6 if estimate.high is None else estimate.high
    return [low, estimate.value, high, (low + estimate.value) / 2, (high + 2 * estimate.value) / 3]


def is_tie(kind, relative, number, x, b):
    share = abs(b) if relative else 1.0
    edges = {"max": number, "min": number, "max_increase": b + number * share, "max_decrease": b - number * share}
    edge = edges.get(kind, number * b)
    return math.isclose(x, edge, rel_tol=1e-9, abs_tol=1e-9)


def one_outcome(run, baseline, kind, number, relative, measure):
    report = judge(
        [rule(measure, kind, number, relative=relative)],
        judged({"full": block(**{measure: run})}),
        {MAIN: judged({"full": block(**{measure: baseline})}, file=MAIN, checkpoint_sha256="ef" * 32)},
    )
    return report.results[0]


@pytest.mark.parametrize(("kind", "relative"), FORMS)
@few
@given(run=estimates(), baseline=estimates(), number=st.floats(0.01, 30))
@example(run=Estimate.exactly(12.0), baseline=Estimate.exactly(10.0), number=0.1)
@example(run=Estimate.exactly(-12.0), baseline=Estimate.exactly(-10.0), number=0.1)
@example(run=Estimate.exactly(8.0), baseline=Estimate.exactly(10.0), number=0.1)
@example(run=Estimate(5.0, 4.0, 6.0), baseline=Estimate(1.0, -1.0, 2.0), number=0.5)
def test_what_is_decided_is_so_at_every_place_of_the_intervals(kind, relative, run, baseline, number):
    outcome = one_outcome(run, baseline, kind, number, relative, BRACKET).outcome
    if outcome == "unsure":
        return
    for x in places(run):
        for b in places(baseline):
            if (b or KINDS[kind].quantity != "ratio") and not is_tie(kind, relative, number, x, b):
                assert keeps_to(kind, relative, number, x, b) == (outcome == "holds"), (x, b)


@pytest.mark.parametrize(("kind", "relative"), FORMS)
@few
@given(run=estimates(), baseline=estimates(), number=st.floats(0.01, 30))
def test_what_is_decided_is_so_of_the_best_figures(kind, relative, run, baseline, number):
    outcome = one_outcome(run, baseline, kind, number, relative, SCATTERING).outcome
    x, b = run.value, baseline.value
    if outcome != "unsure" and b and not is_tie(kind, relative, number, x, b):
        assert keeps_to(kind, relative, number, x, b) == (outcome == "holds")


@pytest.mark.parametrize(("kind", "relative"), FORMS)
@few
@given(x=numbers, b=numbers, number=st.floats(0.01, 30))
def test_of_exact_numbers_every_rule_is_decided(kind, relative, x, b, number):
    assume(b != 0 and not is_tie(kind, relative, number, x, b))
    found = one_outcome(Estimate.exactly(x), Estimate.exactly(b), kind, number, relative, SCATTERING)
    assert found.outcome == ("holds" if keeps_to(kind, relative, number, x, b) else "violated")


@pytest.mark.parametrize("measure", [BRACKET, SCATTERING])
@pytest.mark.parametrize(("kind", "relative"), FORMS)
@few
@given(run=estimates(), baseline=estimates(), number=st.floats(0.01, 30), more=st.floats(0, 20))
def test_a_laxer_bound_never_makes_it_worse(kind, relative, measure, run, baseline, number, more):
    laxer = number + more if KINDS[kind].is_upper else max(number - more, 1e-3)
    tight, lax = (one_outcome(run, baseline, kind, bound, relative, measure).outcome for bound in (number, laxer))
    assert RANK[lax] >= RANK[tight]


@pytest.mark.parametrize(("kind", "relative"), FORMS)
@few
@given(run=estimates(), baseline=estimates(), number=st.floats(0.01, 30), share=st.floats(0, 1))
def test_a_narrower_interval_never_takes_back_a_decision(kind, relative, run, baseline, number, share):
    def narrower(estimate):
        ends = (
            None if e is None else estimate.value + share * (e - estimate.value)
            for e in (estimate.low, estimate.high)
        )
        return Estimate(estimate.value, *ends, exact=estimate.exact)

    wide = one_outcome(run, baseline, kind, number, relative, BRACKET).outcome
    narrow = one_outcome(narrower(run), narrower(baseline), kind, number, relative, BRACKET).outcome
    assert wide in ("unsure", narrow)


@pytest.mark.parametrize("measure", [BRACKET, SCATTERING])
@few
@given(run=estimates(), baseline=estimates(), number=st.floats(0.01, 30))
def test_swapping_run_and_baseline_turns_an_increase_into_a_decrease(measure, run, baseline, number):
    there, back = increase(run, baseline, SHARES[measure]), increase(baseline, run, SHARES[measure])
    assert there == opposite(back)
    up = one_outcome(run, baseline, "max_increase", number, False, measure)
    down = one_outcome(baseline, run, "max_decrease", number, False, measure)
    assert (up.outcome, up.quantity) == (down.outcome, down.quantity)


@pytest.mark.parametrize("measure", [BRACKET, SCATTERING])
@few
@given(run=estimates(low=0.1), baseline=estimates(low=0.1), number=st.floats(0.1, 10))
def test_swapping_run_and_baseline_inverts_a_quotient(measure, run, baseline, number):
    there, back = ratio(run, baseline, SHARES[measure]), ratio(baseline, run, SHARES[measure])
    assert there.value * back.value == pytest.approx(1.0)
    for one, other in ((there.low, back.high), (there.high, back.low)):
        if one and other:
            assert one * other == pytest.approx(1.0)
    edges = [edge for edge in (there.low, there.high) if edge is not None]
    assume(not any(math.isclose(edge, number, rel_tol=1e-9) for edge in edges))
    most = one_outcome(run, baseline, "max_ratio", number, False, measure).outcome
    least = one_outcome(baseline, run, "min_ratio", 1 / number, False, measure).outcome
    assert most == least


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize(("kind", "relative"), FORMS)
def test_what_is_not_a_number_never_passes(kind, relative, number):
    spoiled = Estimate(number, number, number)
    known = Estimate.exactly(3.0)
    cases = [(spoiled, known), (UNKNOWN, known), (Estimate(number, 2.9, 3.1), known)]
    if KINDS[kind].needs_baseline:
        cases += [(known, spoiled), (known, UNKNOWN), (spoiled, spoiled), (UNKNOWN, UNKNOWN)]
    for run, baseline in cases:
        for lenient in (1e9, 1e-9):
            found = one_outcome(run, baseline, kind, lenient, relative, SCATTERING)
            assert found.outcome == "unsure"
            assert found.fails
            assert found.quantity.reason


@few
@given(estimates(), st.floats(-30, 30))
def test_an_upper_bound_is_a_lower_one_seen_in_a_mirror(estimate, number):
    upper = outcome_of(estimate, Bound(KINDS["max"], number))
    assert upper == outcome_of(opposite(estimate), Bound(KINDS["min"], -number))


@pytest.mark.parametrize("number", [0.0, -2.0, 5.0])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_reaching_the_bound_is_not_yet_beyond_it(kind, number):
    assert outcome_of(Estimate.exactly(number), Bound(KINDS[kind], number)) == "holds"
    straddling = Estimate(number, number - 1, number + 1)
    assert outcome_of(straddling, Bound(KINDS[kind], number)) == "unsure"


def test_an_end_that_is_open_decides_nothing_on_its_side():
    least = Estimate(3.0, 3.0, None)  # a lower bound, as of a condition number
    assert outcome_of(least, Bound(KINDS["max"], 2.0)) == "violated"
    assert outcome_of(least, Bound(KINDS["max"], 1e9)) == "unsure"
    assert outcome_of(least, Bound(KINDS["min"], 2.0)) == "holds"
    assert outcome_of(least, Bound(KINDS["min"], 4.0)) == "unsure"


def test_a_baseline_of_zero_has_no_share_and_no_quotient():
    zero, one = Estimate.exactly(0.0), Estimate.exactly(1.0)
    assert ratio(one, zero).value is None
    assert relative_increase(one, zero).value is None
    assert relative_increase(zero, zero) == Estimate.exactly(0.0)
    near = Estimate(0.5, 0.0, 1.0)
    assert ratio(Estimate(4.0, 3.0, 5.0), near) == Estimate(8.0, 3.0, None)
    straddling = Estimate(0.5, -0.5, 1.0)
    assert relative_increase(Estimate(4.0, 3.0, 5.0), straddling) == Estimate(7.0, 2.0, None)


def test_intervals_of_independent_changes_cover_and_are_narrower_than_end_against_end():
    rng = np.random.default_rng(7)
    truths, spreads, trials = (30.0, 20.0), (1.5, 1.0), 4000
    covered = {"increase": 0, "ratio": 0}
    for _ in range(trials):
        run, baseline = (
            Estimate(x := rng.normal(truth, spread), x - 1.96 * spread, x + 1.96 * spread)
            for truth, spread in zip(truths, spreads, strict=True)
        )
        for name, find, truth in (("increase", increase, 10.0), ("ratio", ratio, 1.5)):
            found = find(run, baseline, (1.0, 1.0))
            covered[name] += found.low <= truth <= found.high
            assert found.half_width < find(run, baseline, (0.5, 0.5)).half_width < find(run, baseline).half_width
    assert all(0.935 <= count / trials <= 0.975 for count in covered.values()), covered


@pytest.mark.parametrize(("kind", "relative"), [form for form in FORMS if KINDS[form[0]].needs_baseline])
@few
@given(
    b=estimates(),
    d=estimates(),
    places_of_b=st.floats(0, 1),
    places_of_d=st.floats(0, 1),
    number=st.floats(0.01, 30),
)
def test_a_paired_difference_is_decided_so_at_every_place(kind, relative, b, d, places_of_b, places_of_d, number):
    assume(None not in (b.low, b.high, d.low, d.high))
    found = of_paired(KINDS[kind], relative, d, b)
    needs_divisor = relative or KINDS[kind].quantity == "ratio"
    assert (found is None) == (needs_divisor and b.low <= 0 <= b.high)
    assume(found is not None)
    base = b.low + places_of_b * (b.high - b.low)
    run = base + d.low + places_of_d * (d.high - d.low)
    assume(base != 0 and not is_tie(kind, relative, number, run, base))
    outcome = outcome_of(found, Bound(KINDS[kind], number, relative))
    if outcome != "unsure":
        assert keeps_to(kind, relative, number, run, base) == (outcome == "holds")
