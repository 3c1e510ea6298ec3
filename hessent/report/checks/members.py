"""Documents that may be hand-made or damaged, read member by member: no number is taken that is not one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hessent.estimate import Estimate
from hessent.report.checks.policy import shown


class Members:
    """One JSON object, read member by member; what is wrong is noted, and something harmless returned.

    Parameters
    ----------
    path : str
        Where in the document it stands, for messages.
    found : object
        The object, if it is one.
    problems : list of str
        What is wrong is added to it.
    """

    def __init__(self, path: str, found: Any, problems: list[str]) -> None:
        self.path, self.problems = path, problems
        if not isinstance(found, Mapping):
            self._note("", f"is {shown(found)}, not an object")
        self._members: Mapping[str, Any] = found if isinstance(found, Mapping) else {}

    def __contains__(self, key: str) -> bool:
        return self._members.get(key) is not None

    def object(self, key: str) -> Members:
        """Return a member that must be an object."""
        return Members(f"{self.path}/{key}", self._members.get(key), self.problems)

    def objects(self, key: str) -> list[Members]:
        """Return a member that must be a list of objects."""
        entries = self._members.get(key)
        if not isinstance(entries, list):
            self._note(f"/{key}", f"is {shown(entries)}, not a list")
            return []
        return [Members(f"{self.path}/{key}/{index}", entry, self.problems) for index, entry in enumerate(entries)]

    def text(self, key: str) -> str:
        """Return a member that must be a text."""
        value = self._members.get(key)
        if not isinstance(value, str):
            self._note(f"/{key}", f"is {shown(value)}, not a text")
        return str(value)

    def whole(self, key: str, *, required: bool = True) -> int | None:
        """Return a member that must be a whole number, or may be missing."""
        value = self._members.get(key)
        if value is None and not required:
            return None
        if type(value) is not int:
            self._note(f"/{key}", f"is {shown(value)}, not a whole number")
            return 0
        return value

    def number(self, key: str, *, least: float = -math.inf) -> float | None:
        """Return a member that must be a finite number or null."""
        value = self._members.get(key)
        if value is None:
            return None
        try:
            number = float(value) if type(value) in (int, float) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self._note(f"/{key}", f"is {shown(value)}, not a finite number")
            return None
        if number < least:
            self._note(f"/{key}", f"is {shown(value)}, below {least:g}")
        return number

    def truth(self, key: str) -> bool:
        """Return a member that must be true or false."""
        value = self._members.get(key)
        if not isinstance(value, bool):
            self._note(f"/{key}", f"is {shown(value)}, not true or false")
        return value is True

    def estimate(self, key: str) -> Estimate:
        """Return a member that must be an estimate."""
        return self.object(key).as_estimate()

    def as_estimate(self, *, is_population: bool = False) -> Estimate:
        """Return the object itself as an estimate; without a value it is unknown."""
        value, low, high = self.number("value"), self.number("low"), self.number("high")
        if low is not None and high is not None and low > high:
            self._note("", f"has its ends the wrong way round: {low!r} above {high!r}")
        if value is None:  # ends alone decide nothing: an unknown number must never pass
            reason = self.text("reason") if "reason" in self else "the file gives no value"
            return Estimate.unknown(reason)
        if is_population:
            return Estimate(value, low, high)
        exact = self.truth("exact")
        if exact and not value == low == high:
            self._note("", "calls itself exact, but its ends are not its value")
        population = self.object("population").as_estimate(is_population=True) if "population" in self else None
        return Estimate(value, low, high, exact=exact, population=population)

    def _note(self, path: str, clause: str) -> None:
        self.problems.append(f"{self.path}{path or ''} {clause}".strip())
