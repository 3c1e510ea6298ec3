"""The spectral density of a block on an axis that shows both signs and many decades.

**Axis.** u(λ) = sign(λ)·log₁₀(1 + abs(λ)/τ): linear within ±τ, logarithmic beyond, smooth between.  One unit of u
is a decade for abs(λ) ≫ τ.

**Density.** ρ(u), the share of the block's n eigenvalues per unit of u; its integral is one.  Where all eigenvalues
are known, each is a Gaussian of standard deviation `NARROW`.  Where a block was sampled, each probe has a density
of its own: the k outliers with weight 1/n each, and the nodes of its Gauss rule with weight (n − k)·w/n.  A node
whose Ritz value has converged is as narrow as an eigenvalue; of any other the mass lies somewhere between the
neighbouring nodes, so its Gaussian is half as wide as the mean distance to them, from `NARROW` to `WIDE`.  No
wider: on a logarithmic scale of shares the tails of a wide Gaussian look like eigenvalues that nobody found.  The
line is the mean over the probes, the band their least and largest.

The band shows how far the probes agree; it is no 95 % interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hessent.measures.functionals import only_trace
from hessent.measures.quadrature import CONVERGED, Rule, exact_rules
from hessent.measures.ratios import tau
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]

NARROW = 0.08  # standard deviation of a known eigenvalue, in units of u: a fifth of a decade from side to side
WIDE = 0.2
_STEP = NARROW / 4  # of the grid: a Gaussian is summed without error at half its standard deviation
_MARGIN = 6 * WIDE  # beyond the outermost value: what lies outside is lost to rounding
_AT_ONCE = 4096  # eigenvalues whose Gaussians are in memory together


@dataclass(frozen=True)
class SignedLogAxis:
    """The coordinate u(λ) = sign(λ)·log₁₀(1 + abs(λ)/linear).

    Attributes
    ----------
    linear : float
        Where the axis turns from linear to logarithmic, in the unit of the eigenvalues: τ.
    """

    linear: float

    def position(self, eigenvalues: Float64Array) -> Float64Array:
        """Return u at each eigenvalue."""
        positions: Float64Array = np.sign(eigenvalues) * np.log1p(np.abs(eigenvalues) / self.linear) / np.log(10.0)
        return positions

    def eigenvalue(self, positions: Float64Array) -> Float64Array:
        """Return the eigenvalue at each u."""
        values: Float64Array = np.sign(positions) * np.expm1(np.abs(positions) * np.log(10.0)) * self.linear
        return values


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """The density of one block on a grid.

    Attributes
    ----------
    axis : SignedLogAxis
        What the grid's coordinate means.
    grid : Float64Array
        Equally spaced u, ascending. Shape (g,).
    mean, low, high : Float64Array
        Share of eigenvalues per unit of u: mean, least and largest over the probes; all the same where every
        eigenvalue is known. Shape (g,).
    marks : Float64Array
        Eigenvalues that stand for themselves: the deflated outliers, or the two ends of an exact spectrum.
    tau : float
        Threshold τ of the block, in the unit of the eigenvalues.
    """

    axis: SignedLogAxis
    grid: Float64Array  # (g,)
    mean: Float64Array  # (g,)
    low: Float64Array  # (g,)
    high: Float64Array  # (g,)
    marks: Float64Array  # (s,)
    tau: float


def has_density(block: BlockSpectrum) -> bool:
    """Whether more than the trace of a block was measured."""
    return not only_trace(block)


def spectral_densities(blocks: Sequence[BlockSpectrum], linear: float | None = None) -> list[SpectralDensity]:
    """Return the densities of blocks on one axis and one grid, so that they can be laid over each other.

    Parameters
    ----------
    blocks : sequence of BlockSpectrum
        Of each of which `has_density` is true.
    linear : float, optional
        See `SignedLogAxis`; by default the least τ of the blocks that is not zero.

    Returns
    -------
    list of SpectralDensity
        One per block.
    """
    thresholds = [tau(block) for block in blocks]
    axis = SignedLogAxis(linear or min((t for t in thresholds if t > 0.0), default=1.0))
    ends = np.concatenate([axis.position(_values(block)) for block in blocks])
    first, last = np.floor((ends.min() - _MARGIN) / _STEP), np.ceil((ends.max() + _MARGIN) / _STEP)
    grid = _STEP * np.arange(first, last + 1)
    return [_density(block, axis, grid, threshold) for block, threshold in zip(blocks, thresholds, strict=True)]


def _density(block: BlockSpectrum, axis: SignedLogAxis, grid: Float64Array, threshold: float) -> SpectralDensity:
    if block.eigenvalues is not None:
        values = block.eigenvalues
        share = np.full(len(values), 1.0 / block.size)
        curves = [_sum_of_gaussians(grid, axis.position(values), share, np.full(len(values), NARROW))]
        marks = values[[0, -1]]
    else:
        marks = _outliers(block)
        single = _sum_of_gaussians(
            grid, axis.position(marks), np.full(len(marks), 1.0 / block.size), np.full(len(marks), NARROW)
        )
        rest = (block.size - len(marks)) / block.size
        curves = [single + rest * _rule_density(rule, axis, grid) for rule in _rules(block)] or [single]
    stacked = np.array(curves)
    return SpectralDensity(
        axis, grid, stacked.mean(axis=0), stacked.min(axis=0), stacked.max(axis=0), marks, threshold
    )


def _rule_density(rule: Rule, axis: SignedLogAxis, grid: Float64Array) -> Float64Array:
    positions = axis.position(rule.nodes)
    widths = np.full(len(positions), NARROW)
    if len(positions) > 1:
        between = np.clip(np.gradient(positions) / 2, NARROW, WIDE)
        widths = np.where(rule.residuals <= CONVERGED * np.abs(rule.nodes), NARROW, between)
    return _sum_of_gaussians(grid, positions, rule.weights, widths)


def _sum_of_gaussians(
    grid: Float64Array, centres: Float64Array, masses: Float64Array, widths: Float64Array
) -> Float64Array:
    total = np.zeros(len(grid))
    for start in range(0, len(centres), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        away = (grid[:, None] - centres[part]) / widths[part]
        total += np.exp(-(away**2) / 2) @ (masses[part] / (widths[part] * np.sqrt(2 * np.pi)))
    return total


def _values(block: BlockSpectrum) -> Float64Array:
    """Every value at which a block has mass, for the ends of the grid."""
    if block.eigenvalues is not None:
        return block.eigenvalues
    return np.concatenate([_outliers(block), *(rule.nodes for rule in _rules(block))])


def _outliers(block: BlockSpectrum) -> Float64Array:
    return np.zeros(0) if block.outliers is None else block.outliers.values


def _rules(block: BlockSpectrum) -> list[Rule]:
    """The rules of the probes in the complement of the outliers; none where the outliers are all there is."""
    dimension = block.size - len(_outliers(block))
    if block.probes is None or dimension <= 0:
        return []
    return exact_rules(block.probes, block.probes.num_steps, dimension)
