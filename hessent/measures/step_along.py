"""A step of any length along one direction u in the quadratic model of the loss.

With d = a·u,  b = −g·u  and  c = u·Hu,

    D(a) = −(g·d + ½ d·Hd) = a b − ½ a² c,      d·Hd = a² c,
    best a = b / c  with  D = b² / 2c,  where b > 0 and c > 0.

Where c ≤ 0 the model falls for ever along u, and where b ≤ 0 it rises at once: then no step size is best.  Along
the eigendirections, with ĝ_i = v_i·g and d̂_i = v_i·d,  D_i = −(ĝ_i d̂_i + ½ λ_i d̂_i²) and Σ_i D_i = D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.gradient_quadrature import estimate_of

Float64Array = NDArray[np.float64]

UPHILL = "the step goes uphill"
NOTHING = "the step is zero"
UNCERTAIN = "the sign of the curvature along the step is not certain"
NO_BEST = "the curvature along the step is not positive: in the quadratic model the loss falls for ever"


@dataclass(frozen=True)
class StepAlong:
    """Slope and curvature along u, and how well they are known.

    Attributes
    ----------
    slopes : Float64Array
        b, the value first. Shape (r,).
    curvatures : Float64Array
        c of the same readings, shape (r,).
    known : {"exact", "estimate", "enclosure"}
        Exact: one reading.  Estimate: half of an interval is the largest difference of another reading to the
        first.  Enclosure: the number lies between the readings; the first is the one of the smallest D.
    """

    slopes: Float64Array  # (r,)
    curvatures: Float64Array  # (r,)
    known: Literal["exact", "estimate", "enclosure"]

    def decrease(self, rate: float) -> Estimate:
        """Return D, in the unit of the loss."""
        return self._told(rate * self.slopes - 0.5 * rate**2 * self.curvatures)

    def norm(self, rate: float) -> Estimate:
        """Return d·Hd, in the unit of the loss."""
        return self._told(rate**2 * self.curvatures)

    def best(self) -> Estimate:
        """Return the step size of the largest D; unknown where none is largest."""
        return self._best(lambda slopes, curvatures: slopes / curvatures)

    def best_decrease(self) -> Estimate:
        """Return the largest D, in the unit of the loss; unknown where none is largest.

        It is open upwards where a curvature that is not positive is among the readings.
        """
        return self._best(lambda slopes, curvatures: 0.5 * slopes**2 / curvatures)

    def _best(self, function: Callable[[Float64Array, Float64Array], Float64Array]) -> Estimate:
        """A number that is made of b and c, is never negative, and knows no end where c may not be positive."""
        if self.slopes[0] <= 0.0:
            return Estimate.unknown(UPHILL if self.slopes[0] < 0.0 else NOTHING)
        if self.curvatures[0] <= 0.0:
            high = self.norm(1.0).high
            return Estimate.unknown(NO_BEST if high is None or high <= 0.0 else UNCERTAIN)
        positive = self.curvatures > 0.0
        told = self._told(function(np.maximum(self.slopes[positive], 0.0), self.curvatures[positive]))
        if told.exact:
            return told
        return Estimate(told.value, max(told.low or 0.0, 0.0), told.high if positive.all() else None)

    def _told(self, readings: Float64Array) -> Estimate:
        if self.known == "enclosure":
            return Estimate(float(readings[0]), float(readings.min()), float(readings.max()))
        return estimate_of(readings, exact=self.known == "exact")


def decrease_along(eigenvalues: Float64Array, components: Float64Array, moves: Float64Array) -> Float64Array:
    """Return D_i of every eigendirection from λ_i, ĝ_i and d̂_i, each of shape (k,)."""
    return -(components * moves + 0.5 * eigenvalues * moves**2)
