"""One solve after another, over seeds: how far each measure is off, how wide its interval is, whether it held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from benchmarks.known_operators import solve
from benchmarks.spectra_generator import KnownSpectrum

from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures, tau

ORDERS = {"gap ½": 0.5, "gap 1": 1.0, "gap 2": 2.0, "gap ∞": float("inf")}
_ROUNDING = 1e-9  # relative; an exact measure's interval is a point


@dataclass(frozen=True)
class Trial:
    """One measure of one solve.

    Attributes
    ----------
    error, half_width : float
        Relative to the truth; not a number where there is none.
    held : float
        1.0 if the interval held the truth, else 0.0; not a number for a measure that was refused.
    """

    error: float
    half_width: float
    held: float


def trial(estimate: Estimate, truth: float) -> Trial:
    """Compare an estimate with the truth."""
    if estimate.value is None:
        return Trial(np.nan, np.nan, np.nan)
    slack = _ROUNDING * abs(truth)
    held = (estimate.low is None or estimate.low - slack <= truth) and (
        estimate.high is None or truth <= estimate.high + slack
    )
    size = abs(truth) if truth else np.nan
    width = np.nan if estimate.half_width is None else estimate.half_width / size
    return Trial(abs(estimate.value - truth) / size, width, float(held))


def trials(spectrum: KnownSpectrum, seed: int, **settings: object) -> dict[str, Trial]:
    """Solve once and compare every measure; gaps of all orders under the names of `ORDERS`."""
    block = solve(spectrum, seed=seed, **settings)
    measures = compute_measures(block)
    truth = spectrum.truth(tau(block))
    found = {name: trial(measures[name], truth[name]) for name in truth if name != "entropy_gap"}
    for name, alpha in ORDERS.items():
        estimate = compute_measures(block, alpha=alpha)["entropy_gap"] if alpha != 1.0 else measures["entropy_gap"]
        found[name] = trial(estimate, spectrum.gap(alpha))
    return found


def over_seeds(spectrum: KnownSpectrum, seeds: range, **settings: object) -> dict[str, list[Trial]]:
    """Return the trials of every measure over seeds."""
    rows = [trials(spectrum, seed, **settings) for seed in seeds]
    return {name: [row[name] for row in rows] for name in rows[0]}


def median(found: list[Trial], what: str) -> float:
    """Return the median of errors or half-widths; not a number where no trial has one."""
    numbers = np.array([getattr(one, what) for one in found])
    numbers = numbers[np.isfinite(numbers)]
    return float(np.median(numbers)) if len(numbers) else float("nan")


def worst(found: list[Trial]) -> float:
    """Return the largest relative error."""
    return max(one.error for one in found)


def coverage(found: list[Trial]) -> float:
    """Return the share of intervals that held the truth, of those that were given."""
    given = [one.held for one in found if not np.isnan(one.held)]
    return float(np.mean(given)) if given else float("nan")
