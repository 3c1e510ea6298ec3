"""How far the truth may lie from a measure of one block, with sampling error told apart from all else.

Sampling errors of two runs with other probes are independent: in the interval of a difference their squares add.
What a truncated quadrature, a residual or the products' noise leaves open is no random draw, and adds up as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hessent.estimate import Estimate
from hessent.measures.condition import condition_from_gap
from hessent.measures.entropy import entropy_from_gap, gap_from_zeros, gap_functional, rank_from_gap
from hessent.measures.functionals import only_trace
from hessent.measures.ratios import mean_enclosures
from hessent.measures.replicates import Spread
from hessent.measures.trace import abs_trace_spread, trace_spread
from hessent.spectra.model import BlockSpectrum


@dataclass(frozen=True)
class Reach:
    """How far the truth may lie from a number on one side of it, in the unit of the measure.

    Attributes
    ----------
    sampling : float
        For the choice of the probes; infinite where nothing is known on that side.
    rest : float
        For everything else.
    """

    sampling: float
    rest: float = 0.0

    def beside(self, other: Reach) -> float:
        """Return how far the difference of two such numbers with independent sampling errors may be off."""
        sampling = math.sqrt(self.sampling * self.sampling + other.sampling * other.sampling)
        return sampling + (self.rest + other.rest)


@dataclass(frozen=True)
class Reaches:
    """Both sides of a number.

    Attributes
    ----------
    below, above : Reach
        How far the truth may lie below and above it.
    """

    below: Reach
    above: Reach

    @classmethod
    def of(cls, own: Estimate, certain: Estimate | None = None) -> Reaches:
        """Split an interval.

        Parameters
        ----------
        own : Estimate
            The interval as shown.
        certain : Estimate, optional
            What would be left of it if the probes had no sampling error; without it, all of it.
        """
        certain = certain or own
        return cls(
            _split(own.value, own.low, certain.low),
            _split(own.value, own.high, certain.high),
        )


def _split(value: float | None, end: float | None, certain: float | None) -> Reach:
    """One side of an interval, of which the part up to `certain` is not due to sampling."""
    if value is None or end is None or certain is None:
        return Reach(math.inf)
    whole = abs(end - value)
    rest = min(abs(certain - value), whole)
    return Reach(whole - rest, rest)


def reaches(
    block: BlockSpectrum,
    estimates: Mapping[str, Estimate],
    *,
    alpha: float = 1.0,
    tau_rel: float | None = None,
) -> dict[str, Reaches]:
    """Split the intervals of all known measures of a block.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled.
    estimates : mapping of str to Estimate
        Its measures by name, at `alpha` and `tau_rel`.
    alpha : float
        Rényi order of the entropies.
    tau_rel : float, optional
        Threshold of the ratios relative to max abs(λ).

    Returns
    -------
    dict of str to Reaches
        By name.
    """
    known = {name: own for name, own in estimates.items() if own.value is not None}
    certain = {} if block.eigenvalues is not None else _certain(block, known, alpha, tau_rel)
    return {name: Reaches.of(own, certain.get(name)) for name, own in known.items()}


def _certain(
    block: BlockSpectrum, known: Mapping[str, Estimate], alpha: float, tau_rel: float | None
) -> dict[str, Estimate]:
    """Intervals without sampling error, of those measures of a sampled block that have such an error."""
    found = {"trace": _without_probes(trace_spread(block))}
    if only_trace(block):
        return found
    if "abs_trace" in known:
        found["abs_trace"] = _without_probes(abs_trace_spread(block))
    if "zero_ratio" in known:
        found |= {name: Estimate((a + b) / 2, a, b) for name, (a, b) in mean_enclosures(block, tau_rel).items()}
    if "entropy_gap" in known:
        gap = _certain_gap(block, alpha) if alpha > 0.0 else gap_from_zeros(found["zero_ratio"], block.size)
        found |= {
            "entropy_gap": gap,
            "entropy": entropy_from_gap(gap, block.size),
            "effective_rank": rank_from_gap(gap, block.size),
        }
    if "condition_lower_entropy" in known:
        gap = found["entropy_gap"] if alpha == 1.0 else _certain_gap(block, 1.0)
        found["condition_lower_entropy"] = condition_from_gap(gap, block.size)
    return found


def _certain_gap(block: BlockSpectrum, alpha: float) -> Estimate:
    sums, functional = gap_functional(block, alpha)
    return _without_probes(sums.spread(functional), floor=0.0, ceiling=math.log(block.size))


def _without_probes(spread: Spread, *, floor: float = -math.inf, ceiling: float = math.inf) -> Estimate:
    """An interval of quadrature and precision alone, cut to what is possible at all."""
    rest = spread.quadrature + spread.precision
    value, low, high = (min(max(spread.value + step, floor), ceiling) for step in (0.0, -rest, rest))
    return Estimate(value, low, high)
