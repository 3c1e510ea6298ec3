"""`Estimate`: the form in which every number is reported.

A number never travels without its 95 % interval.  An exact number has `low == value == high` and says so; a
number that is only bounded on one side has infinity replaced by None on the open side; a number that could not
be had has `value = None` and a `reason`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval, in the unit of the measure it belongs to.

    Attributes
    ----------
    value : float or None
        The best single figure; None when it is unknown.
    low, high : float or None
        Ends of the 95 % interval (for a bracket: of the certified bracket widened by sampling error); None where
        the number is not bounded on that side.
    exact : bool
        True when the number is exact for this data up to rounding: no estimation was involved.
    reason : str or None
        Why `value` is None.
    population : Estimate or None
        The same measure for the population that the data was drawn from: value corrected for bias where that is
        possible, interval widened by the error of the data subset. None where data groups were not kept.
    """

    value: float | None
    low: float | None
    high: float | None
    exact: bool = False
    reason: str | None = None
    population: Estimate | None = None

    def __post_init__(self) -> None:
        """Turn non-finite ends into None, so that JSON stays strict."""
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)

    @classmethod
    def exactly(cls, value: float) -> Estimate:
        """Return the exact number `value`."""
        return cls(value, value, value, exact=True)

    @classmethod
    def unknown(cls, reason: str) -> Estimate:
        """Return a number that could not be had, with the reason (a short clause)."""
        return cls(None, None, None, reason=reason)

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval; None when an end is open."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the contract; `reason` and `population` only where there is one."""
        entry: dict[str, Any] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "exact": self.exact,
        }
        if self.reason is not None:
            entry["reason"] = self.reason
        if self.population is not None:
            ends = self.population
            entry["population"] = {"value": ends.value, "low": ends.low, "high": ends.high}
        return entry
