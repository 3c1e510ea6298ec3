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
from hessent.measures.functionals import (
    ONLY_TRACE,
    Functional,
    SpectralFunction,
    SpectralSums,
    absolute,
    absolute_log,
    extremes,
    only_trace,
)
from hessent.measures.functionals import scale_of as _scale_of
from hessent.measures.ratios import ratios, relative_tau
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
    log_size = math.log(block.size)
    if alpha == 1.0:
        return (
            SpectralSums(block, [absolute, absolute_log]),
            lambda s: log_size + float(s[1] / s[0]) - math.log(s[0]),
        )
    if math.isinf(alpha):
        # The eigenvalues are divided by their largest magnitude, so max p = 1 / A.
        largest = max(abs(value) for value, _ in extremes(block)) / _scale_of(block)
        return SpectralSums(block, [absolute]), lambda s: log_size + math.log(largest / s[0])

    def power(x: Float64Array) -> Float64Array:
        return np.abs(x) ** alpha

    functions: list[SpectralFunction] = [absolute, power]
    return (
        SpectralSums(block, functions),
        lambda s: log_size - (_log(s[1]) - alpha * math.log(s[0])) / (1.0 - alpha),
    )


def _log(power_sum: float) -> float:
    """Logarithm of a power sum; −∞ where all powers underflowed (a high order and no converged eigenvalue)."""
    return math.log(power_sum) if power_sum > 0.0 else -math.inf


def _gap_of_support(block: BlockSpectrum, tau_rel: float | None) -> Estimate:
    """Gap of order 0: minus the log of the share of eigenvalues beyond τ."""
    if relative_tau(block, tau_rel) >= 1.0:
        return Estimate.unknown("no eigenvalue exceeds τ")
    zero = ratios(block, tau_rel)["zero_ratio"]
    most = 1.0 - 1.0 / block.size  # the largest eigenvalue exceeds τ

    def gap(share: float | None) -> float | None:
        return None if share is None else -math.log1p(-min(share, most))

    return Estimate(gap(zero.value), gap(zero.low), gap(zero.high), exact=zero.exact)


def entropy(block: BlockSpectrum, alpha: float = 1.0, tau_rel: float | None = None) -> Estimate:
    """Return H_α in nats: log n minus the gap."""
    gap = entropy_gap(block, alpha, tau_rel)
    log_size = math.log(block.size)

    def mirrored(number: float | None) -> float | None:
        return None if number is None else log_size - number

    return Estimate(mirrored(gap.value), mirrored(gap.high), mirrored(gap.low), gap.exact, gap.reason)


def effective_rank(block: BlockSpectrum, alpha: float = 1.0, tau_rel: float | None = None) -> Estimate:
    """Return exp(H_α), a number of eigenvalues between 1 and n; α = 2 is the participation ratio."""
    own = entropy(block, alpha, tau_rel)
    value, low, high = (None if x is None else math.exp(x) for x in (own.value, own.low, own.high))
    return Estimate(value, low, high, own.exact, own.reason)
