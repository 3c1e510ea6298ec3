"""How far a measure has changed, with the 95 % interval of the change.

The baseline was estimated too, so its interval counts as much as the run's.  The distance from a value to an end of
its interval has a part that stems from random probes and a rest (a truncated quadrature, a residual, a certified
bracket) which is no random draw.  Where run and baseline are independent, the parts of chance add in squares and
the rests as they are: with d the distances to the ends and w the share of chance in each,

    distance of the change = √((w d)² + (w' d')²) + (1 − w) d + (1 − w') d'

which is exact for normal errors, and end against end where nothing is known to be chance.  A quotient has the same
on the logarithmic scale, as long as neither number may be zero or change its sign; else it goes end against end.
Where the change was measured probe by probe (`of_paired`) that interval is taken instead.

References
----------
G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach", Statistics
in Medicine 27, 1693–1702 (2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hessent.estimate import Estimate
from hessent.report.checks.rules import BoundKind

_NO_QUOTIENT = "the baseline is zero: there is no quotient"
_NO_SHARE = "the baseline is zero: an increase is no share of it"
_LARGEST_LOG = 700.0  # of a number that a float can hold

Shares = tuple[float, float]
"""Shares, 0 to 1, of the half-widths of run and baseline that stem from random probes."""

END_AGAINST_END: Shares = (0.0, 0.0)


def change(kind: BoundKind, relative: bool, run: Estimate, baseline: Estimate, shares: Shares) -> Estimate:
    """Return the quantity that a kind of bound is about, of two independent estimates.

    Parameters
    ----------
    kind : BoundKind
        One that needs a baseline.
    relative : bool
        Whether an increase or decrease is wanted as a share of the baseline.
    run, baseline : Estimate
        The same measure twice.
    shares : tuple of float
        Of their half-widths that stem from random probes.
    """
    if kind.quantity == "ratio":
        return ratio(run, baseline, shares)
    found = (relative_increase if relative else increase)(run, baseline, shares)
    return found if kind.quantity == "increase" else opposite(found)


def of_paired(kind: BoundKind, relative: bool, difference: Estimate, baseline: Estimate) -> Estimate | None:
    """Return the quantity that a kind of bound is about, of a difference whose own interval is known.

    Parameters
    ----------
    kind, relative
        See `change`.
    difference : Estimate
        Run minus baseline.
    baseline : Estimate
        What the difference is relative to; how its error goes with that of the difference is not known.

    Returns
    -------
    Estimate or None
        None where the baseline may be zero or change its sign: a pair does not help there.
    """
    low, high = _ends(baseline)
    if kind.quantity != "ratio" and not relative:
        found = difference
    elif low <= 0.0 <= high:
        return None
    elif kind.quantity == "ratio":
        return _mapped(ratio(difference, baseline), lambda number: 1.0 + number)
    else:
        found = ratio(difference, baseline if low > 0.0 else opposite(baseline))
    return found if kind.quantity == "increase" else opposite(found)


def increase(run: Estimate, baseline: Estimate, shares: Shares = END_AGAINST_END) -> Estimate:
    """Return run − baseline, in the unit of the measure; see `change` for the arguments."""
    if (unknown := _unknown(run, baseline)) is not None:
        return unknown
    x, b = _value(run), _value(baseline)
    (run_low, run_high), (low, high) = _ends(run), _ends(baseline)
    below = _together(x - run_low, high - b, shares)
    above = _together(run_high - x, b - low, shares)
    return _between(x - b, x - b - below, x - b + above, run, baseline)


def relative_increase(run: Estimate, baseline: Estimate, shares: Shares = END_AGAINST_END) -> Estimate:
    """Return (run − baseline) / abs(baseline), a share: 0.2 for 20 %.

    Where the baseline may be zero the share is open on the side to which it then grows.
    """
    if (unknown := _unknown(run, baseline)) is not None:
        return unknown
    x, b = _value(run), _value(baseline)
    if run.exact and baseline.exact and x == b:
        return Estimate.exactly(0.0)
    if b == 0.0:
        return Estimate.unknown(_NO_SHARE)
    low, high = _ends(baseline)
    if low >= 0.0 or high <= 0.0:
        more = _mapped(ratio(run, baseline, shares), lambda number: number - 1.0)
        return more if low >= 0.0 else opposite(more)
    value = (x - b) / abs(b)
    run_low, run_high = _ends(run)
    if run_low > 0.0:
        return Estimate(value, min(run_low / high - 1.0, run_low / -low + 1.0), None)
    if run_high < 0.0:
        return Estimate(value, None, max(run_high / high - 1.0, run_high / -low + 1.0))
    return Estimate(value, None, None)


def ratio(run: Estimate, baseline: Estimate, shares: Shares = END_AGAINST_END) -> Estimate:
    """Return run / baseline; open on the side to which it grows where the baseline may be zero."""
    if (unknown := _unknown(run, baseline)) is not None:
        return unknown
    if _value(baseline) == 0.0:
        return Estimate.unknown(_NO_QUOTIENT)
    value = _value(run) / _value(baseline)
    if not math.isfinite(value):
        return Estimate.unknown("the quotient is larger than a number can be")
    if _ends(baseline)[1] <= 0.0:
        run, baseline = opposite(run), opposite(baseline)
    (run_low, run_high), (low, high) = _ends(run), _ends(baseline)
    if low < 0.0:
        return Estimate(value, None, None)
    if any(shares) and run_low > 0.0 and low > 0.0 and math.isfinite(run_high + high):
        x, b = _value(run), _value(baseline)
        below = _together(math.log(x / run_low), math.log(high / b), shares)
        above = _together(math.log(run_high / x), math.log(b / low), shares)
        return _between(value, value * math.exp(-below), value * math.exp(min(above, _LARGEST_LOG)), run, baseline)
    least = run_low / high if run_low >= 0.0 else _over(run_low, low)
    most = _over(run_high, low) if run_high >= 0.0 else run_high / high
    return _between(value, least, most, run, baseline)


def opposite(estimate: Estimate) -> Estimate:
    """Return the same number with the other sign: an increase as a decrease."""
    turned = _mapped(estimate, lambda number: -number)
    return replace(turned, low=turned.high, high=turned.low)


def unchanged(kind: BoundKind) -> Estimate:
    """Return the change of a run against itself: none, exactly."""
    return Estimate.exactly(1.0 if kind.quantity == "ratio" else 0.0)


def _together(own: float, other: float, shares: Shares) -> float:
    """Return how far a change may be off, of two distances of which shares are chance."""
    if not math.isfinite(own + other):
        return math.inf
    if not any(shares):
        return own + other
    chance = math.hypot(shares[0] * own, shares[1] * other)
    return chance + ((1.0 - shares[0]) * own + (1.0 - shares[1]) * other)


def _between(value: float, low: float, high: float, run: Estimate, baseline: Estimate) -> Estimate:
    """Make an estimate whose interval holds its value, whatever was rounded."""
    if run.exact and baseline.exact:
        return Estimate.exactly(value)
    return Estimate(value, min(low, value), max(high, value))


def _unknown(run: Estimate, baseline: Estimate) -> Estimate | None:
    for name, estimate in (("", run), ("in the baseline: ", baseline)):
        if estimate.value is None:
            return Estimate.unknown(name + (estimate.reason or "the value is not a number"))
    return None


def _value(estimate: Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def _ends(estimate: Estimate) -> tuple[float, float]:
    return (
        -math.inf if estimate.low is None else estimate.low,
        math.inf if estimate.high is None else estimate.high,
    )


def _mapped(estimate: Estimate, function: Callable[[float], float]) -> Estimate:
    """Take an estimate through an increasing function."""
    value, low, high = (None if n is None else function(n) for n in (estimate.value, estimate.low, estimate.high))
    return replace(estimate, value=value, low=low, high=high, population=None)


def _over(number: float, divisor: float) -> float:
    """Divide by something that may be zero: the quotient then has no end."""
    return number / divisor if divisor else math.copysign(math.inf, number)
