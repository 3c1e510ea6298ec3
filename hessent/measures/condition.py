"""Condition number: what can be certified of κ = max abs(λ) / min abs(λ).

κ itself needs the eigenvalue nearest to zero, which no sampling finds.  Three statements are possible:

- from the entropy gap (order 1): the smallest k with gap ≤ g_n(k) = max_j [ j k ln k/(jk+n−j) − ln((jk+n−j)/n) ],
  j = 1 … n − 1: the largest gap that eigenvalues with ratio k can have (j of them at k, the others at 1).  Then
  κ ≥ k, sharply; exp(gap), the bound of the source paper, is far weaker (gap 6: 1.0e4 against 403);
- from Ritz values: each has an eigenvalue within its residual, so κ ≥ max abs(θ) / min_j (abs(θ_j) + r_j); the
  residual of one found beside outliers V with residuals R is at most (r_j² + ‖R‖_F²)^½, as VᵀH u = Rᵀ u;
- with a damping δ > 0:  (λ_max + δ) / (max(λ_min, 0) + δ), two-sided where both ends are enclosed.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts load on first use: a table of a ready file needs none of them
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.functionals import ONLY_TRACE, extremes, only_trace, scale_of, through
from hessent.measures.quadrature import gauss_rules
from hessent.measures.ratios import tau
from hessent.measures.trace import lambda_max, lambda_min
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]

_LARGEST_LOG = 600.0  # ln k beyond which double precision ends


def largest_gap(log_k: float, size: int) -> float:
    """Return the largest entropy gap of order 1 that n eigenvalues with condition number k can have, in nats.

    Parameters
    ----------
    log_k : float
        ln k ≥ 0.
    size : int
        Number of eigenvalues n.

    Returns
    -------
    float
        max over j = 1 … n − 1 of  j k ln k/(jk + n − j) − ln((jk + n − j)/n).
    """
    if size < 2 or log_k <= 0.0:
        return 0.0
    if size <= 4096:
        return float(_gap_with(np.arange(1.0, size), log_k, size).max())
    # In ln j the gap has one maximum; its integer neighbours decide.
    best = scipy.optimize.minimize_scalar(
        lambda t: -float(_gap_with(np.exp(t), log_k, size)), bounds=(0.0, math.log(size - 1)), method="bounded"
    )
    middle = math.floor(math.exp(float(best.x)))
    around = np.clip(np.array([middle - 1.0, middle, middle + 1.0, middle + 2.0]), 1, size - 1)
    return float(_gap_with(around, log_k, size).max())


def _gap_with(j: Float64Array, log_k: float, size: int) -> Float64Array:
    """Gap of j eigenvalues at k and n − j at 1, without overflow: everything divided by k."""
    rest = (size - j) * math.exp(-log_k)
    gap: Float64Array = j * log_k / (j + rest) - log_k - np.log((j + rest) / size)
    return gap


def condition_for_gap(gap: float, size: int) -> float:
    """Return the smallest condition number that allows the entropy gap `gap`: a certified lower bound on κ."""
    if gap <= 0.0 or size < 2:
        return 1.0
    if gap >= largest_gap(_LARGEST_LOG, size):
        return math.inf
    log_k = scipy.optimize.brentq(lambda t: largest_gap(t, size) - gap, 0.0, _LARGEST_LOG, xtol=1e-10, rtol=1e-10)
    return math.exp(float(log_k))


def condition_from_gap(gap: Estimate, size: int) -> Estimate:
    """Return the lower bound on κ of n eigenvalues that a gap of order 1 certifies, its interval taken along."""
    if gap.value is None:
        return Estimate.unknown(gap.reason or "the entropy gap is unknown")
    bound = through(gap, lambda nats: condition_for_gap(nats, size))
    if bound.value is None:
        return Estimate.unknown("the gap is the largest possible, as of a singular matrix: no bound is finite")
    return bound


def condition_lower_ritz(block: BlockSpectrum) -> Estimate:
    """Return max abs(θ) / min (abs(θ) + residual): a lower bound on κ, open above."""
    if only_trace(block):
        return Estimate.unknown(ONLY_TRACE)
    if not any(value for value, _ in extremes(block)):
        return Estimate.unknown("the matrix is zero")
    scale = scale_of(block)
    if block.eigenvalues is not None:
        magnitudes = np.abs(block.eigenvalues)
        smallest, largest = float(magnitudes.min()), float(magnitudes.max())
    else:
        assert block.probes is not None
        rules = gauss_rules(block.probes, block.probes.num_steps)
        coupling = 0.0 if block.outliers is None else float(np.linalg.norm(block.outliers.residuals))
        reaches = [np.abs(rule.nodes) + np.hypot(rule.residuals, coupling) for rule in rules]
        if block.outliers is not None:
            reaches.append(np.abs(block.outliers.values) + block.outliers.residuals)
        smallest, largest = float(np.concatenate(reaches).min()), scale
    # Below the rounding of the products an eigenvalue cannot be told from zero.
    smallest = max(smallest, block.noise * scale, float(np.finfo(np.float64).eps) * scale)
    if smallest <= 0.0:  # the scale itself is so small that its rounding is no number
        return Estimate.unknown("the matrix is zero")
    bound = largest / smallest
    return Estimate(bound, bound, None)


def condition_damped(block: BlockSpectrum, tau_rel: float | None = None) -> Estimate:
    """Return (λ_max + δ)/(max(λ_min, 0) + δ) with the damping δ = τ."""
    if only_trace(block):
        return Estimate.unknown(ONLY_TRACE)
    damping = tau(block, tau_rel)
    (top, _), (bottom, _) = extremes(block)
    if damping <= 0.0:
        return Estimate.unknown("the matrix is zero")
    if top <= 0.0:
        return Estimate.unknown("no eigenvalue is positive")

    def ratio(largest: float, smallest: float) -> float:
        return damped_ratio(largest, smallest, damping)

    upper, lower = lambda_max(block), lambda_min(block)
    if upper.exact:
        return Estimate.exactly(ratio(top, bottom))
    ends = upper.low, upper.high, lower.low, lower.high
    if any(end is None for end in ends):
        return Estimate(ratio(top, bottom), None, None)
    least, most, bottom_low, bottom_high = (float(end) for end in ends if end is not None)
    return Estimate(ratio(top, bottom), ratio(least, bottom_high), ratio(most, bottom_low))


def damped_ratio(largest: float, smallest: float, damping: float) -> float:
    """Return the damped condition number of a matrix with these extreme eigenvalues; they count from zero up."""
    return (max(largest, 0.0) + damping) / (max(smallest, 0.0) + damping)
