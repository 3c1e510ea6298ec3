"""Numbers for people: rounded by their error, and never tighter than they are known.

``12.3 ± 0.4`` an estimate with its 95 % half-width; ``0.42–0.61`` a bracket, its ends rounded outwards; ``≥ 41.6``
and ``≤ 0.2`` a bound, rounded to the safe side; ``12.34`` an exact number; ``—`` an unknown one.

An estimate of which one side of the interval is more than one and a half times the other is shown as a bracket: a ±
would promise values that the interval does not hold.  Not so where the two sides are the same in the digits shown,
or smaller than those digits: there the ± is the longer side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal

from hessent.estimate import Estimate

UNKNOWN = "—"

NumberKind = Literal["estimate", "bracket", "lower-bound"]

_EXACT_DIGITS = 4  # significant digits of an exact number
_BOUND_DIGITS = 3
_MOST_DIGITS = 4  # of an estimate, however small its error is: a table must fit its terminal
_FIXED_FROM, _FIXED_BELOW = 1e-3, 1e5  # outside, numbers are written with an exponent
_LOPSIDED = 1.5  # an interval longer than this on one side, against the other, is shown by its ends


@dataclass(frozen=True)
class Formatted:
    """A number as text: `value`, and `error` (what follows the ±; empty where there is none).

    `is_interval` where `value` is both ends of an interval.
    """

    value: str
    error: str = ""
    is_interval: bool = False

    def joined(self, separator: str = " ± ") -> str:
        """Return the number on one line."""
        return self.value + separator + self.error if self.error else self.value


def format_estimate(estimate: Estimate, kind: NumberKind = "estimate") -> Formatted:
    """Return an estimate as people read it.

    Parameters
    ----------
    estimate : Estimate
        The number.
    kind : {"estimate", "bracket", "lower-bound"}
        What it is: a value with an error, an interval of which the ends are the message, or a lower bound, of
        which the low end is the message (the title of its column carries the ≥).

    Returns
    -------
    Formatted
        Rounded by the width of the interval.
    """
    low, high = estimate.low, estimate.high
    if kind == "lower-bound" and low is not None:
        return Formatted(_round_bound(low, ROUND_FLOOR))
    if low is not None and high is not None:
        return _two_sided(estimate, low, high, kind)
    if low is not None:
        return Formatted(f"≥ {_round_bound(low, ROUND_FLOOR)}")
    if high is not None:
        return Formatted(f"≤ {_round_bound(high, ROUND_CEILING)}")
    if estimate.value is not None:
        return Formatted(f"≈ {format_number(estimate.value)}")
    return Formatted(UNKNOWN)


def format_number(number: float, digits: int = _EXACT_DIGITS) -> str:
    """Return `number` with `digits` significant digits; whole numbers below 1e5 keep all of theirs."""
    if not math.isfinite(number):
        return UNKNOWN
    if number == 0:
        return "0"
    if not _FIXED_FROM <= abs(number) < _FIXED_BELOW:
        return _short_exponent(f"{number:.{digits - 1}e}")
    return f"{number:.{max(0, digits - 1 - _exponent(number))}f}"


def at_most(number: float, digits: int = 1) -> str:
    """Return `number` rounded up to `digits` significant digits: what follows a ≤."""
    return _round_bound(number, ROUND_CEILING, digits) if math.isfinite(number) else UNKNOWN


def _two_sided(estimate: Estimate, low: float, high: float, kind: NumberKind) -> Formatted:
    value = estimate.value
    if estimate.exact and value is not None:
        return Formatted(format_number(value))
    if value is None or kind == "bracket":
        return Formatted(_bracket(low, high), is_interval=True)
    if _is_lopsided(value, value - low, high - value):
        return Formatted(_bracket(low, high), is_interval=True)
    return _with_error(value, max(value - low, high - value))


def _is_lopsided(value: float, below: float, above: float) -> bool:
    """Whether an interval's sides differ so much, in digits that are shown, that a ± would be wrong."""
    error = max(below, above)
    if error <= _LOPSIDED * min(below, above):
        return False
    decimals = _decimals(error)
    if value and decimals > _MOST_DIGITS - 1 - _exponent(value):
        return False
    return round(below, decimals) != round(above, decimals)


def _with_error(value: float, error: float) -> Formatted:
    if error <= 0.0:
        return Formatted(format_number(value), "0")
    decimals = _decimals(error)
    most = _MOST_DIGITS - 1 - _exponent(value) if value else decimals
    if decimals > most + 1:  # the digits shown end before the error begins: one digit of it says enough
        error = float(f"{error:.0e}")
    decimals = min(decimals, max(most, 0) if abs(value) < _FIXED_BELOW else most)
    if _FIXED_FROM <= max(abs(value), error) < _FIXED_BELOW:
        shown = f"{_without_minus_zero(round(value, decimals)):.{max(decimals, 0)}f}"
        fixed_error = f"{round(error, _decimals(error)):.{max(_decimals(error), 0)}f}"
        return Formatted(shown, fixed_error if error >= _FIXED_FROM else _short_error(error))
    digits = max(0, decimals + _exponent(value)) if value else 0
    return Formatted(_short_exponent(f"{value:.{digits}e}") if value else "0", _short_error(error))


def _bracket(low: float, high: float) -> str:
    """Return ``low–high`` rounded outwards; an ellipsis where a minus sign would meet the dash."""
    if low == high:
        return format_number(low)
    dash = "–" if low >= 0 else "…"
    width, largest = high - low, max(abs(low), abs(high))
    # Two digits of a width that begins with 1 … 4, else one: an end moves outwards by a tenth of the width at most.
    decimals = -_exponent(width) + (1 if width / 10.0 ** _exponent(width) < 5 else 0)
    if not _FIXED_FROM <= largest < _FIXED_BELOW:
        ends = ((low, ROUND_FLOOR), (high, ROUND_CEILING))
        return dash.join(_round_bound(end, way, _digits_for(end, decimals)) for end, way in ends)
    decimals = max(min(decimals, _EXACT_DIGITS - 1 - _exponent(largest)), 2 if largest <= 1 else 0)
    return _directed(low, decimals, ROUND_FLOOR) + dash + _directed(high, decimals, ROUND_CEILING)


def _digits_for(end: float, decimals: int) -> int:
    """Return the significant digits of an end that reach a decimal place: from two to those of a number."""
    return min(max(decimals + _exponent(end) + 1, 2), _EXACT_DIGITS) if end else 2


def _round_bound(number: float, rounding: str, digits: int = _BOUND_DIGITS) -> str:
    """Return `number` with `digits` significant digits, rounded in one direction."""
    if number == 0:
        return "0"
    decimals = digits - 1 - _exponent(number)
    if _FIXED_FROM <= abs(number) < _FIXED_BELOW:
        return _directed(number, decimals, rounding)
    rounded = _as_meant(number).quantize(Decimal(1).scaleb(-decimals), rounding=rounding)
    return _short_exponent(f"{rounded:.{digits - 1}e}")


def _directed(number: float, decimals: int, rounding: str) -> str:
    """Return `number` rounded down or up at a decimal place, in fixed notation."""
    rounded = _as_meant(number).quantize(Decimal(1).scaleb(-decimals), rounding=rounding)
    return f"{rounded + 0:.{max(decimals, 0)}f}"


def _as_meant(number: float) -> Decimal:
    """What binary holds as 0.42000000000000004 is meant as 0.42; it must not be rounded up from there."""
    return Decimal(f"{number:.12g}")


def _decimals(error: float) -> int:
    """Return the decimal place to round to: one significant digit of the error, two where it begins with a 1."""
    exponent = _exponent(error)
    return -exponent + (1 if error / 10.0**exponent < 1.95 else 0)


def _exponent(number: float) -> int:
    return math.floor(math.log10(abs(number)))


def _short_error(error: float) -> str:
    text = f"{error:.0e}" if float(f"{error:.0e}") == error else f"{error:.1e}"
    return _short_exponent(text if _decimals(error) != -_exponent(error) else f"{error:.0e}")


def _short_exponent(text: str) -> str:
    """Write 1.20e-05 as 1.20e-5 and 1e+06 as 1e6."""
    mantissa, exponent = text.lower().split("e")
    return f"{mantissa}e{int(exponent)}"


def _without_minus_zero(number: float) -> float:
    return number if number else 0.0
