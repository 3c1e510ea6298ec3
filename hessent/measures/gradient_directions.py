"""How much of a block's gradient lies along its leading eigenvectors, and along negative curvature.

With orthonormal eigenvectors v_i of the block and ĝ_i = v_i·g:

    gradient_top_share       Σ ĝ_i² / ‖g‖² over the k = 10 eigenvalues largest in magnitude, those left out that are
                             zero but for rounding: of a matrix of rank r < 10 it is the share along its range
    gradient_negative_share  Σ ĝ_i² / ‖g‖² over λ_i < 0

An exact block has them exactly, unless an eigenvalue is a tie with the next one, or zero but for rounding: then
the interval holds both.  A sampled block has Ritz vectors y_i of residuals r_i.  A combination u = Σ a_i y_i of
those with θ_i < 0 strays into the space of λ ≥ 0 by no more than e = Σ |a_i| r_i / |θ_i|, because the spectrum
there is |θ_i| away. So with u, v the parts of the unit vector g/‖g‖ along converged negative and positive Ritz
vectors (r ≤ |θ| / 100), and (x)₊ = max(x, 0),

    (‖u‖ − e_u / ‖u‖)₊²  ≤  gradient_negative_share  ≤  1 − (‖v‖ − e_v / ‖v‖)₊².

Ritz vectors that have not converged are mixtures of eigenvectors of both signs and bound nothing; the value counts
them by the sign of their Ritz value all the same, within these ends, and so is mostly too small.  For the leading
vectors the distance to the rest of the spectrum is |θ_i| − |θ_{k+1}| − r_{k+1}; since the share grows with k, ends
for other numbers of vectors bound it too where eigenvalue k + 1 is near.  That enclosure takes the eigenvalues not
found to be smaller than those found.  Where fewer than k leading vectors have converged, those that have bound the
share from below, and the value is the middle between that and 1: as of the ratios, where the share lies within its
ends is not known then.  Where none bounds it, it is unknown.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.functionals import ONLY_TRACE, only_trace
from hessent.measures.quadrature import CONVERGED
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEADING = 10  # eigenvectors

_NOT_KEPT = "the gradient's components along eigenvectors were not kept"
_ZERO_MATRIX = "the matrix is zero"
_FEW = "too few leading eigenvectors converged; spend more products"
_NULL = 1e-6  # of max |λ|, up to which an eigenvalue is zero but for rounding
_EXACT = 1e-4  # width up to which the enclosure of an exact block is rounding alone


class GradientDirections:
    """Squares of the components of a block's gradient along its Ritz vectors, by falling |θ|.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled, with the components of its gradient.
    """

    def __init__(self, block: BlockSpectrum) -> None:
        assert block.gradient is not None
        along = block.gradient.along
        assert along is not None
        values = block.eigenvalues if along.values is None else along.values
        assert values is not None
        residuals = np.zeros(len(values)) if along.residuals is None else along.residuals
        order = np.argsort(-np.abs(values), kind="stable")
        self._values, self._residuals, self._shares = values[order], residuals[order], along.shares[order]
        self._complete = along.values is None
        self._semidefinite = block.semidefinite
        self._floor = block.noise_floor
        self.scale = float(np.abs(values).max(initial=0.0))

    def leading_share(self) -> Estimate:
        """Return the share along the `LEADING` eigenvectors."""
        relevant = np.abs(self._values) > max(_NULL * self.scale, self._floor)
        count = min(LEADING, int(relevant.sum()))
        ends = [self._leading_ends(number) for number in range(1, len(self._values) + 1) if self._known(number)]
        low = max((end[0] for number, end in enumerate(ends, 1) if number <= count), default=0.0)
        high = min((end[1] for number, end in enumerate(ends, 1) if number >= count), default=1.0)
        if not self._complete and len(ends) < count:
            return Estimate((low + 1.0) / 2, low, 1.0) if low > 0.0 else Estimate.unknown(_FEW)
        return self._estimate(float(self._shares[:count].sum()), low, high)

    def negative_share(self) -> Estimate:
        """Return the share along negative curvature."""
        if self._semidefinite:
            return Estimate.exactly(0.0)
        certain = self._residuals + self._floor <= CONVERGED * np.abs(self._values)
        low = self._least(certain & (self._values < 0.0))
        high = 1.0 - self._least(certain & (self._values > 0.0))
        return self._estimate(float(self._shares[self._values < 0.0].sum()), low, high)

    def _known(self, number: int) -> bool:
        """Whether the first so many Ritz pairs have converged."""
        return bool((self._residuals[:number] <= CONVERGED * np.abs(self._values[:number])).all())

    def _leading_ends(self, number: int) -> tuple[float, float]:
        """Enclose the share along the first so many eigenvectors."""
        if number == len(self._values) and self._complete:
            return 1.0, 1.0
        following = slice(number, number + 1)
        rest = float((np.abs(self._values[following]) + self._residuals[following]).sum())
        distances = np.abs(self._values[:number]) - rest
        residuals = self._residuals[:number] + self._floor + np.finfo(float).eps * self.scale
        if distances.min() <= 0.0:
            return 0.0, 1.0
        with np.errstate(over="ignore"):
            tilts = np.minimum(residuals / distances, 1.0)
        share = float(self._shares[:number].sum())
        strayed = float((np.sqrt(self._shares[:number]) * tilts).sum())
        beside = math.sqrt(max(1.0 - share, 0.0)) * max(1.0 - float(np.linalg.norm(tilts)), 0.0)
        return _less(share, strayed), 1.0 - beside**2

    def _least(self, chosen: Bools) -> float:
        """Least share on one side of zero, of Ritz vectors there that have converged."""
        shares = self._shares[chosen]
        tilts = (self._residuals[chosen] + self._floor) / np.abs(self._values[chosen])
        return _less(float(shares.sum()), float((np.sqrt(shares) * tilts).sum()))

    def _estimate(self, value: float, low: float, high: float) -> Estimate:
        value = min(max(value, 0.0), 1.0)
        if self._complete and high - low <= _EXACT:
            return Estimate.exactly(value)
        return Estimate(value, max(min(low, value), 0.0), min(max(high, value), 1.0))


def direction_measures(block: BlockSpectrum) -> dict[str, Estimate]:
    """Return both shares of a block whose gradient is known and not zero, by name."""
    names = ("gradient_top_share", "gradient_negative_share")
    if only_trace(block):
        return {name: Estimate.unknown(ONLY_TRACE) for name in names}
    if block.gradient is None or block.gradient.along is None:
        negative = Estimate.exactly(0.0) if block.semidefinite else Estimate.unknown(_NOT_KEPT)
        return dict(zip(names, (Estimate.unknown(_NOT_KEPT), negative), strict=True))
    found = GradientDirections(block)
    if found.scale == 0.0:
        return {name: Estimate.unknown(_ZERO_MATRIX) for name in names}
    return dict(zip(names, (found.leading_share(), found.negative_share()), strict=True))


def _less(share: float, strayed: float) -> float:
    """Square of the length √share less what strays from it."""
    return max(math.sqrt(share) - strayed / math.sqrt(share), 0.0) ** 2 if share > 0.0 else 0.0
