"""Shares of positive, negative and near-zero eigenvalues at a stated threshold τ.

A bare positive ratio is not knowable: a Hessian has a large mass at and around zero, and point estimates at τ = 0
move from 0.28 to 0.92 with the number of Lanczos steps.  So the three ratios are counted at
τ = tau_rel · max abs(λ), and for sampled blocks they are brackets: per probe, Gauss–Radau rules with a node at ±τ
give rigorous bounds on the mass beyond it; the bracket is [mean lower − t·se, mean upper + t·se].  The value shown
is the middle of the mean bounds.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts load on first use: a table of a ready file needs none of them
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.functionals import extremes, scale_of
from hessent.measures.quadrature import mass_beyond
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]

_DEFAULT_TAU = 1e-3
_NOISE_MARGIN = 10.0


def relative_tau(block: BlockSpectrum, tau_rel: float | None = None) -> float:
    """Return τ / max abs(λ): as asked, else max(1e-3, 10 × the measured relative noise of the products)."""
    return tau_rel if tau_rel is not None else max(_DEFAULT_TAU, _NOISE_MARGIN * block.noise)


def tau(block: BlockSpectrum, tau_rel: float | None = None) -> float:
    """Return the threshold τ in the unit of the eigenvalues; zero for a zero matrix."""
    if not any(value for value, _ in extremes(block)):
        return 0.0
    return relative_tau(block, tau_rel) * scale_of(block)


def ratios(block: BlockSpectrum, tau_rel: float | None = None) -> dict[str, Estimate]:
    """Return `positive_ratio`, `negative_ratio` and `zero_ratio` at τ.

    Parameters
    ----------
    block : BlockSpectrum
        Exact blocks are counted, sampled ones bracketed.
    tau_rel : float, optional
        τ / max abs(λ).

    Returns
    -------
    dict of str to Estimate
        Shares of λ > τ, λ < −τ and abs(λ) ≤ τ.
    """
    threshold = tau(block, tau_rel)
    if block.eigenvalues is not None:
        positive = float((block.eigenvalues > threshold).mean())
        negative = float((block.eigenvalues < -threshold).mean())
        return {
            "positive_ratio": Estimate.exactly(positive),
            "negative_ratio": Estimate.exactly(negative),
            "zero_ratio": Estimate.exactly(max(1.0 - positive - negative, 0.0)),
        }
    above = _bounds(block, threshold, sign=1.0)
    below = _bounds(block, threshold, sign=-1.0)
    between = np.column_stack([1.0 - above[:, 1] - below[:, 1], 1.0 - above[:, 0] - below[:, 0]])
    return {
        "positive_ratio": _bracket(above),
        "negative_ratio": _bracket(below),
        "zero_ratio": _bracket(between),
    }


def _bounds(block: BlockSpectrum, threshold: float, *, sign: float) -> Float64Array:
    """Per probe, bounds on the share of the block's eigenvalues with sign·λ > τ. Shape (p, 2)."""
    assert block.probes is not None
    outliers = block.outliers.values if block.outliers is not None else np.zeros(0)
    counted = float((sign * outliers > threshold).sum())
    dimension = block.size - len(outliers)
    betas = np.column_stack([block.probes.betas, block.probes.last_betas])
    masses = [
        mass_beyond(sign * alphas, b, threshold) for alphas, b in zip(block.probes.alphas, betas, strict=True)
    ]
    return (counted + dimension * np.array(masses)) / block.size


def _bracket(bounds: Float64Array) -> Estimate:
    count = len(bounds)
    lower, upper = bounds.mean(axis=0)
    if count < 2:
        return Estimate(float(np.clip((lower + upper) / 2, 0, 1)), None, None)
    errors = bounds.std(axis=0, ddof=1) / math.sqrt(count) * float(scipy.special.stdtrit(count - 1, 0.975))
    low, value, high = np.clip([lower - errors[0], (lower + upper) / 2, upper + errors[1]], 0.0, 1.0)
    return Estimate(float(value), float(low), float(high))
