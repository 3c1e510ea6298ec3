"""`Difference`: the form in which a measure of one run is held against that of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hessent.estimate import Estimate
from hessent.measures.reach import Reaches


@dataclass(frozen=True)
class Difference:
    """A measure of a run minus that of the reference, with its 95 % interval, in the unit of the measure.

    Attributes
    ----------
    value : float or None
        The difference of the two values shown; where joint Krylov spaces pair the runs, what these tell of the
        difference, which is nearer to it. None when it is unknown.
    low, high : float or None
        Ends of the 95 % interval; None where the difference is not bounded on that side.
    exact : bool
        True when both numbers are exact for their data.
    paired : bool
        Whether the interval is that of the difference itself; else it is made of both runs' intervals.
    reason : str or None
        Why `value` is None, or why the difference is not paired (a short clause).
    population : Estimate or None
        The difference for the population that the data was drawn from; None where data groups were not kept.
    """

    value: float | None
    low: float | None
    high: float | None
    exact: bool = False
    paired: bool = False
    reason: str | None = None
    population: Estimate | None = None

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval; None when an end is open."""
        return self.estimate.half_width

    @property
    def estimate(self) -> Estimate:
        """The number with its interval, without how it came about."""
        reason = self.reason if self.value is None else None
        return Estimate(self.value, self.low, self.high, self.exact, reason, self.population)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of an Estimate, with `paired`, and `reason` also where there is a value."""
        entry = self.estimate.to_json() | {"paired": self.paired}
        return entry if self.reason is None else entry | {"reason": self.reason}


def unpaired_difference(run: Estimate, reference: Estimate, reason: str) -> Difference:
    """Return a difference of two numbers of which nothing but their intervals is known: their half-widths add.

    Parameters
    ----------
    run, reference : Estimate
        The same measure of two runs.
    reason : str
        Why nothing more is known (a short clause).
    """
    if run.value is None or reference.value is None:
        return unknown(run, reference)
    apart = apart_from(run, reference, Reaches.of(run, run), Reaches.of(reference, reference))
    return made_of(apart, exact=run.exact and reference.exact, reason=reason)


def apart_from(run: Estimate, reference: Estimate, own: Reaches, other: Reaches) -> Estimate:
    """Return the difference of two numbers with independent sampling errors, given how far each may be off."""
    assert run.value is not None
    assert reference.value is not None
    value = run.value - reference.value
    return Estimate(value, value - own.below.beside(other.above), value + own.above.beside(other.below))


def made_of(
    number: Estimate, *, exact: bool = False, paired: bool = False, reason: str | None = None
) -> Difference:
    """Return a number with its interval as a difference."""
    return Difference(number.value, number.low, number.high, exact, paired, reason)


def unknown(run: Estimate, reference: Estimate) -> Difference:
    """Return the difference of two numbers of which one at least is not known, with the reason."""
    return Difference(None, None, None, reason=run.reason or reference.reason or "one of the numbers is unknown")
