"""A number with all that its interval is made of: without each probe, and after fewer steps.

A difference of two numbers whose probes had the same start vectors is formed replicate by replicate: probe i is
left out on both sides, and both are cut to the same share of their steps.  What the two have in common cancels in
its interval as it does in the difference itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load on first use: a table of a ready file needs none of them
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Where the half-width of an interval comes from, in the unit of the measure.

    Attributes
    ----------
    value : float
        The functional at the full sums.
    probes : float
        t quantile times jackknife standard error; infinite for a single probe.
    quadrature : float
        Truncation of the Gauss rules.
    precision : float
        What the products' noise may have changed.
    """

    value: float
    probes: float
    quadrature: float
    precision: float = 0.0

    @property
    def half_width(self) -> float:
        """All parts together."""
        return self.probes + self.quadrature + self.precision


def t_quantile(count: int) -> float:
    """Return the 97.5 % quantile of Student's t for the mean of `count` numbers; infinite for one."""
    return float(scipy.special.stdtrit(count - 1, 0.975)) if count > 1 else math.inf


@dataclass(frozen=True, eq=False)
class Replicates:
    """A number of a sampled block and what it would be with less, in the unit of the measure.

    Attributes
    ----------
    value : float
        With all probes and all steps.
    left_out : Float64Array
        Without each of the p probes. Shape (p,).
    cut : Float64Array
        With all probes after fewer steps. Shape (c,), empty where no quadrature was truncated.
    sides : Float64Array
        By the two kinds of rules that enclose it. Shape (2,), or (0,) where one kind is enough.
    precision : float
        What the products' noise may have changed.
    factor : float
        How much of the largest difference to fewer steps may still be missing.
    inflation : float
        By how much the probes' part is multiplied.
    truncation : float
        Half-width for truncation beside what `cut` and `sides` show.
    """

    value: float
    left_out: Float64Array  # (p,)
    cut: Float64Array  # (c,)
    sides: Float64Array  # (2,) or (0,)
    precision: float
    factor: float = 1.0
    inflation: float = 1.0
    truncation: float = 0.0

    def spread(self) -> Spread:
        """Return the number and the parts of its half-width."""
        truncation = self.truncation
        if len(self.cut):
            truncation += self.factor * max(abs(self.value - float(cut)) for cut in self.cut)
        if len(self.sides):
            truncation += abs(float(self.sides[0] - self.sides[1])) / 2
        return Spread(self.value, self._sampling(), truncation, self.precision)

    def minus(self, other: Replicates, *, same_steps: bool) -> Replicates:
        """Return the difference to a number of the same p probes; their noise does not cancel.

        After other steps the truncations are not comparable: then both count in full.
        """
        comparable = same_steps and len(self.cut) == len(other.cut) and len(self.sides) == len(other.sides)
        apart = self.truncation + other.truncation
        if not comparable:
            apart = self.spread().quadrature + other.spread().quadrature
        return Replicates(
            value=self.value - other.value,
            left_out=self.left_out - other.left_out,
            cut=self.cut - other.cut if comparable else np.zeros(0),
            sides=self.sides - other.sides if comparable else np.zeros(0),
            precision=self.precision + other.precision,
            factor=max(self.factor, other.factor),
            inflation=max(self.inflation, other.inflation),
            truncation=apart,
        )

    def through(self, function: Callable[[float], float]) -> Replicates:
        """Return the replicates of a monotonic function of the number, which had no truncation set apart."""
        value = function(self.value)
        ends = (function(self.value - self.precision), function(self.value + self.precision))
        return Replicates(
            value=value,
            left_out=_each(function, self.left_out),
            cut=_each(function, self.cut),
            sides=_each(function, self.sides),
            precision=max(abs(end - value) for end in ends),
            factor=self.factor,
            inflation=self.inflation,
        )

    def _sampling(self) -> float:
        count = len(self.left_out)
        if count < 2 or not np.isfinite(self.left_out).all():
            return math.inf
        variance = (count - 1) / count * float(((self.left_out - self.left_out.mean()) ** 2).sum())
        return self.inflation * t_quantile(count) * math.sqrt(variance)


def _each(function: Callable[[float], float], numbers: Float64Array) -> Float64Array:
    return np.array([function(float(number)) for number in numbers], dtype=np.float64)
