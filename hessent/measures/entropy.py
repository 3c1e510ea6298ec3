"""Entropy of the spectrum, its gap to the maximum, and the effective rank, at any Rényi order α.

With p_i = abs(λ_i) / Σ abs(λ_j):  H_α = (1 / (1 − α)) log Σ p_i^α;  H_1 = −Σ p log p;  H_∞ = −log max p;
H_0 = log of the number of eigenvalues that are not zero (abs(λ) > τ).  The entropy gap is log n − H_α ≥ 0, in nats;
the effective rank exp(H_α).  For α = 1,  gap = log n + B/A − log A  with A = Σ abs λ and B = Σ abs λ·log abs λ: the
scale of the matrix cancels.

A negative gap can only be a bug, so it is refused instead of shown.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.functionals import ONLY_TRACE, Functional, SpectralSums, extremes, only_trace, through
from hessent.measures.ratios import ratios, relative_tau
from hessent.measures.spectral_functions import SpectralFunction, absolute, absolute_log
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]

_ROUNDING = 1e-9


def entropy_gap(block: BlockSpectrum, alpha: float = 1.0, tau_rel: float | None = None) -> Estimate:
    """Return log n − H_α in nats.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled.
    alpha : float
        Rényi order α ≥ 0; `math.inf` is allowed.
    tau_rel : float, optional
        τ / max abs(λ), for order 0 alone.

    Returns
    -------
    Estimate
        Unknown for a zero matrix, whose entropy is not defined.

    Raises
    ------
    ValueError
        If α is negative or not a number, or the gap of a block comes out negative: the numbers are then wrong.
    """
    if not alpha >= 0.0:
        raise ValueError(f"the order of the entropy must be ≥ 0, found {alpha}")
    if only_trace(block):
        return Estimate.unknown(ONLY_TRACE)
    if not any(value for value, _ in extremes(block)):
        return Estimate.unknown("the matrix is zero")
    if alpha == 0.0:
        return _gap_of_support(block, tau_rel)
    sums, functional = gap_functional(block, alpha)
    spread = sums.spread(functional)
    if not math.isfinite(spread.value):
        return Estimate.unknown(f"order {alpha:g} needs the largest eigenvalue converged; spend more products")
    if spread.value + spread.half_width < -_ROUNDING:
        raise ValueError(
            f"the entropy gap of block '{block.name}' is negative ({spread.value:.3g}): a bug of hessent"
        )
    return sums.estimate(functional, floor=0.0, ceiling=math.log(block.size))


def gap_functional(block: BlockSpectrum, alpha: float) -> tuple[SpectralSums, Functional]:
    """Return the spectral sums the gap of order α > 0 depends on, and the gap as a function of them."""
    functions, functional = gap_terms(alpha, block.size)
    return SpectralSums(block, functions, slow=alpha < 1.0), functional


def gap_terms(alpha: float, size: int) -> tuple[list[SpectralFunction], Functional]:
    """Return functions of λ / max abs(λ), and the gap of order α > 0 of n eigenvalues in terms of their sums."""
    log_size = math.log(size)
    if alpha == 1.0:
        return [absolute, absolute_log], lambda s: log_size + float(s[1] / s[0]) - math.log(s[0])
    if math.isinf(alpha):
        return [absolute], lambda s: log_size - math.log(s[0])  # max p = 1 / A

    def power(x: Float64Array) -> Float64Array:
        return np.abs(x) ** alpha

    return [absolute, power], lambda s: log_size - (_log(s[1]) - alpha * math.log(s[0])) / (1.0 - alpha)


def _log(power_sum: float) -> float:
    """Logarithm of a power sum; −∞ where all powers underflowed (a high order and no converged eigenvalue)."""
    return math.log(power_sum) if power_sum > 0.0 else -math.inf


def _gap_of_support(block: BlockSpectrum, tau_rel: float | None) -> Estimate:
    """Gap of order 0: minus the log of the share of eigenvalues beyond τ."""
    if relative_tau(block, tau_rel) >= 1.0:
        return Estimate.unknown("no eigenvalue exceeds τ")
    return gap_from_zeros(ratios(block, tau_rel)["zero_ratio"], block.size)


def gap_from_zeros(zero_ratio: Estimate, size: int) -> Estimate:
    """Return the gap of order 0 of n eigenvalues, −log(1 − share of zeros)."""
    most = 1.0 - 1.0 / size  # the largest eigenvalue exceeds τ
    return through(zero_ratio, lambda share: -math.log1p(-min(share, most)))


def entropy_from_gap(gap: Estimate, size: int) -> Estimate:
    """Return H_α = log n minus the gap, in nats."""
    return through(gap, lambda nats: math.log(size) - nats, falling=True)


def rank_from_gap(gap: Estimate, size: int) -> Estimate:
    """Return exp(H_α), a number of eigenvalues between 1 and n; α = 2 is the participation ratio."""
    return through(entropy_from_gap(gap, size), math.exp)
