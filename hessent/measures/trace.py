"""Traces and extreme eigenvalues.

`trace` = Σ λ ("sharpness" in the entropy-gap papers), `abs_trace` = Σ abs(λ), `lambda_max` and `lambda_min` (λ_max
is the "sharpness" of the edge-of-stability literature).  An extreme Ritz value is an inner bound: the true λ_max
is not below it, and an eigenvalue lies within its residual.
"""

from __future__ import annotations

from hessent.estimate import Estimate
from hessent.measures.functionals import SpectralSums, absolute, extremes, identity, scale_of
from hessent.spectra.model import BlockSpectrum


def trace(block: BlockSpectrum) -> Estimate:
    """Return Σ λ, in the unit of the loss per squared parameter."""
    scale = scale_of(block)
    return SpectralSums(block, [identity]).estimate(lambda s: float(s[0]) * scale)


def abs_trace(block: BlockSpectrum) -> Estimate:
    """Return Σ abs(λ), in the unit of the loss per squared parameter."""
    scale = scale_of(block)
    return SpectralSums(block, [absolute]).estimate(lambda s: float(s[0]) * scale, floor=0.0)


def lambda_max(block: BlockSpectrum) -> Estimate:
    """Return the largest eigenvalue; sampled: from the largest Ritz value up to its residual above."""
    value, residual = extremes(block)[0]
    if block.eigenvalues is not None:
        return Estimate.exactly(value)
    slack = block.noise * scale_of(block)
    return Estimate(value, value - slack, value + residual + slack)


def lambda_min(block: BlockSpectrum) -> Estimate:
    """Return the smallest eigenvalue; sampled: from the smallest Ritz value down to its residual below."""
    value, residual = extremes(block)[1]
    if block.eigenvalues is not None:
        return Estimate.exactly(value)
    slack = block.noise * scale_of(block)
    return Estimate(value, value - residual - slack, value + slack)


def negative_mass(block: BlockSpectrum) -> float:
    """Return the share of the absolute trace that lies on negative eigenvalues (an estimate, 0…1)."""

    def share(sums: object) -> float:
        positive, total = float(sums[0]), float(sums[1])  # type: ignore[index]
        return 0.5 * (total - positive) / total if total > 0.0 else 0.0

    return min(max(SpectralSums(block, [identity, absolute]).spread(share).value, 0.0), 1.0)
