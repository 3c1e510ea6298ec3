"""Timings that can be compared: all take turns in one run, and every figure is a ratio with its spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Task = Callable[[], object]


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some numbers.

    Attributes
    ----------
    low, median, high : float
        In the unit of the numbers.
    count : int
        How many there were.
    """

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """Sum up at least one number."""
        return cls(min(numbers), statistics.median(numbers), max(numbers), len(numbers))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def interleave(
    tasks: Mapping[str, Task],
    rounds: int,
    *,
    few: Mapping[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time every task once per round, each round beginning with another task.

    What slows the machine for a while slows all tasks of a round, so that ratios within a round hold where seconds
    do not.

    Parameters
    ----------
    tasks : mapping of str to callable
        Already warmed up.
    rounds : int
        At least 1.
    few : mapping of str to int, optional
        Rounds, counted from the first, in which a task takes part; all by default.
    clock : callable
        Seconds; on a device that works on its own it has to wait for it.

    Returns
    -------
    dict of str to list of float
        Seconds per round.
    """
    names = list(tasks)
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if turn >= (few or {}).get(name, rounds):
                continue
            start = clock()
            tasks[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide round by round, as far as both took part."""
    return [one / other for one, other in zip(above, below, strict=False)]


@dataclass(frozen=True)
class Bar:
    """A claim and what was found.

    Attributes
    ----------
    claim : str
        What must hold, with its bound.
    found : Spread
        The figure over rounds.
    bound : float
        The median must not exceed it, or with `at_least` not fall below it.
    at_least : bool
        Which side is good.
    """

    claim: str
    found: Spread
    bound: float
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or `not met, within the spread` where some rounds met it."""
        sign = -1.0 if self.at_least else 1.0
        if sign * self.found.median <= sign * self.bound:
            return "met"
        best = self.found.high if self.at_least else self.found.low
        return "not met, within the spread" if sign * best <= sign * self.bound else "not met"
