"""How far a measure has changed, with the 95 % interval of the change.

The baseline was estimated too, so its interval counts as much as the run's.  Where both are independent estimates
with errors on either side, the interval of their difference follows from the distances to their ends (MOVER): with
b < x the baseline and the run,

    low  = (x − b) − √((x − x_low)² + (b_high − b)²)      high = (x − b) + √((x_high − x)² + (b − b_low)²)

and that of their quotient likewise on the logarithmic scale, as long as neither may be zero or change its sign.
Certified brackets and bounds (shares of eigenvalues, extreme eigenvalues, condition numbers) do not scatter around
a value: the truth may lie at any place in them.  They, and whatever is open on one side, are combined end against
end, which is wider and needs no independence.  Two runs on the same weights and data have the same truth: their
change is exactly zero.

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

# Measures whose errors are those of random probes, the same way round on either side.
_SCATTERING = frozenset({"trace", "abs_trace", "entropy", "entropy_gap", "effective_rank"})
_NO_QUOTIENT = "the baseline is zero: there is no quotient"
_NO_SHARE = "the baseline is zero: an increase is no share of it"

Ends = tuple[float, float]


def increase(run: Estimate, baseline: Estimate, measure: str) -> Estimate:
    """Return run − baseline, in the unit of the measure.

    Parameters
    ----------
    run, baseline : Estimate
        Independent estimates of the same measure.
    measure : str
        Its name.
    """
    return _unknown(run, baseline) or _difference(run, baseline, measure)


def relative_increase(run: Estimate, baseline: Estimate, measure: str) -> Estimate:
    """Return (run − baseline) / abs(baseline), a share: 0.2 for 20 %.

    Where the baseline may be zero the share is open on the side to which it then grows.
    """
    unknown = _unknown(run, baseline)
    if unknown is not None:
        return unknown
    assert run.value is not None
    assert baseline.value is not None
    if run.exact and baseline.exact and run.value == baseline.value:
        return Estimate.exactly(0.0)
    if baseline.value == 0.0:
        return Estimate.unknown(_NO_SHARE)
    low, high = _ends(baseline)
    if low >= 0.0 or high <= 0.0:
        quotient = ratio(run, baseline, measure)
        if low >= 0.0:
            return _mapped(quotient, lambda number: number - 1.0)
        return opposite(_mapped(quotient, lambda number: number - 1.0))
    value = (run.value - baseline.value) / abs(baseline.value)
    run_low, run_high = _ends(run)
    if run_low > 0.0:
        return Estimate(value, min(run_low / high - 1.0, run_low / -low + 1.0), None)
    if run_high < 0.0:
        return Estimate(value, None, max(run_high / high - 1.0, run_high / -low + 1.0))
    return Estimate(value, None, None)


def ratio(run: Estimate, baseline: Estimate, measure: str) -> Estimate:
    """Return run / baseline; open on the side to which it grows where the baseline may be zero."""
    unknown = _unknown(run, baseline)
    if unknown is not None:
        return unknown
    assert run.value is not None
    assert baseline.value is not None
    if baseline.value == 0.0:
        return Estimate.unknown(_NO_QUOTIENT)
    value = run.value / baseline.value
    if not math.isfinite(value):
        return Estimate.unknown("the quotient is larger than a number can be")
    (run_low, run_high), (low, high) = _ends(run), _ends(baseline)
    if high <= 0.0:
        (run_low, run_high), (low, high) = (-run_high, -run_low), (-high, -low)
    if low < 0.0:
        return Estimate(value, None, None)
    if measure in _SCATTERING and run_low * low > 0.0 and math.isfinite(run_high + high):
        below = math.hypot(math.log(abs(run.value) / run_low), math.log(high / abs(baseline.value)))
        above = math.hypot(math.log(run_high / abs(run.value)), math.log(abs(baseline.value) / low))
        return _between(value, value * math.exp(-below), value * math.exp(min(above, 700.0)), run, baseline)
    least = run_low / high if run_low >= 0.0 else _over(run_low, low)
    most = _over(run_high, low) if run_high >= 0.0 else run_high / high
    return _between(value, least, most, run, baseline)


def opposite(estimate: Estimate) -> Estimate:
    """Return the same number with the other sign: an increase as a decrease."""
    turned = _mapped(estimate, lambda number: -number)
    return replace(turned, low=turned.high, high=turned.low)


def unchanged(quantity: str) -> Estimate:
    """Return what a change is between two measurements of the same weights on the same data: none, exactly."""
    return Estimate.exactly(1.0 if quantity == "ratio" else 0.0)


def _difference(run: Estimate, baseline: Estimate, measure: str) -> Estimate:
    assert run.value is not None
    assert baseline.value is not None
    value = run.value - baseline.value
    (run_low, run_high), (low, high) = _ends(run), _ends(baseline)
    if measure in _SCATTERING:
        below = math.hypot(run.value - run_low, high - baseline.value)
        above = math.hypot(run_high - run.value, baseline.value - low)
        return _between(value, value - below, value + above, run, baseline)
    return _between(value, run_low - high, run_high - low, run, baseline)


def _between(value: float, low: float, high: float, run: Estimate, baseline: Estimate) -> Estimate:
    """Make an estimate whose interval holds its value, whatever was rounded."""
    if run.exact and baseline.exact:
        return Estimate.exactly(value)
    return Estimate(value, min(low, value), max(high, value))


def _unknown(run: Estimate, baseline: Estimate) -> Estimate | None:
    for name, estimate in (("", run), ("in the baseline: ", baseline)):
        if estimate.value is None:
            return Estimate.unknown(name + (estimate.reason or "the value is unknown"))
    return None


def _ends(estimate: Estimate) -> Ends:
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
