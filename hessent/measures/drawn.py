"""Measures of a block of which random numbers beside the samples were drawn: they are estimates.

Every sample has draws of its own, so what the measures move by without each group of the data holds the error of
the draws as well as that of the samples.  The interval for this data is therefore that for the population: too wide
by the error of the samples, but not too narrow.  Without groups nothing is known of it, and the interval is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hessent.estimate import Estimate


def as_drawn(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return measures that were taken for exact with the interval that draws leave them.

    Parameters
    ----------
    estimates : mapping of str to Estimate
        By name, with population values where there are groups of the data.
    """
    return {name: _widened(own) for name, own in estimates.items()}


def _widened(own: Estimate) -> Estimate:
    if own.value is None:
        return own
    wide = own.population
    if wide is None:
        return replace(own, low=None, high=None, exact=False)
    # The matrix is positive semidefinite: no measure of it is negative.
    low = None if wide.low is None else min(max(wide.low, 0.0), own.value)
    high = None if wide.high is None else max(wide.high, own.value)
    return replace(own, low=low, high=high, exact=False)
