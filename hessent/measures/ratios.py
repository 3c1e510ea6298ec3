"""Shares of positive, negative and near-zero eigenvalues at a stated threshold τ.

A bare positive ratio is not knowable: a Hessian has a large mass at and around zero, and point estimates at τ = 0
move from 0.28 to 0.92 with the number of Lanczos steps.  So the three ratios are counted at
τ = tau_rel · max abs(λ), and for sampled blocks they are brackets: per probe, Gauss–Radau rules with a node at ±τ
give rigorous bounds on the mass beyond it; the bracket holds every count of eigenvalues that the mean lower and the
mean upper bound leave possible (`beta_law`).  The value shown is the middle of the mean bounds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.beta_law import counts_beyond
from hessent.measures.functionals import JOINT_SAMPLING, ONLY_TRACE, extremes, only_trace, scale_of
from hessent.measures.radau import mass_beyond
from hessent.measures.replicates import Replicates
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import Outliers, ProbeRuns, ShorterSpectrum

Float64Array = NDArray[np.float64]

_DEFAULT_TAU = 1e-3
_NONE = Estimate.exactly(0.0)
_NOISE_MARGIN = 10.0


def relative_tau(block: BlockSpectrum, tau_rel: float | None = None) -> float:
    """Return τ / max abs(λ): as asked, else max(1e-3, 10 × the measured relative noise of the products)."""
    return tau_rel if tau_rel is not None else max(_DEFAULT_TAU, _NOISE_MARGIN * block.noise)


def tau(block: BlockSpectrum, tau_rel: float | None = None) -> float:
    """Return the threshold τ in the unit of the eigenvalues; zero for a zero matrix, not a number if unknown."""
    if only_trace(block):
        return math.nan
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
    if only_trace(block):
        return dict.fromkeys(("positive_ratio", "negative_ratio", "zero_ratio"), Estimate.unknown(ONLY_TRACE))
    threshold = tau(block, tau_rel)
    if block.eigenvalues is not None:
        positive = float((block.eigenvalues > threshold).mean())
        negative = float((block.eigenvalues < -threshold).mean())
        return {
            "positive_ratio": Estimate.exactly(positive),
            "negative_ratio": Estimate.exactly(negative),
            "zero_ratio": Estimate.exactly(max(1.0 - positive - negative, 0.0)),
        }
    above, below = (_masses(block, threshold, sign=sign) for sign in (1.0, -1.0))
    positive_outliers, negative_outliers = (_outliers(block, threshold, sign=sign) for sign in (1.0, -1.0))
    beyond = _bracket(block, above + below, positive_outliers + negative_outliers)
    assert beyond.value is not None
    assert beyond.low is not None
    assert beyond.high is not None
    return {
        "positive_ratio": _bracket(block, above, positive_outliers),
        "negative_ratio": _NONE if block.semidefinite else _bracket(block, below, negative_outliers),
        "zero_ratio": Estimate(1.0 - beyond.value, 1.0 - beyond.high, 1.0 - beyond.low),
    }


def mean_enclosures(block: BlockSpectrum, tau_rel: float | None = None) -> dict[str, tuple[float, float]]:
    """Return what encloses the three ratios of a sampled block on average over its probes: no sampling error."""
    threshold = tau(block, tau_rel)
    dimension = block.size - (0 if block.outliers is None else len(block.outliers.values))
    (low, high), (least, most) = (
        (_outliers(block, threshold, sign=sign) + dimension * _masses(block, threshold, sign=sign)) / block.size
        for sign in (1.0, -1.0)
    )
    return {
        "positive_ratio": (float(low), float(high)),
        "negative_ratio": (float(least), float(most)),
        "zero_ratio": (float(1.0 - high - most), float(1.0 - low - least)),
    }


def ratio_replicates(block: BlockSpectrum, tau_rel: float | None = None) -> dict[str, Replicates]:
    """Return the middles of the three ratios' enclosures, with and without each probe, and after fewer steps.

    Only of blocks whose probes share a Krylov space, for no other shows what fewer steps would have given.  What
    follows from them is no enclosure: over the ratio itself it would promise too much, but between two runs most
    of what it does not see is the same.  Half an eigenvalue is added, for one that crosses τ between two nodes.
    """
    if not block.shorter or block.outliers is None or block.probes is None:
        return {}
    threshold = tau(block, tau_rel)
    whole, *cuts = [
        _middles(block.size, part.outliers, part.probes, threshold)
        for part in (ShorterSpectrum(block.outliers, block.probes), *block.shorter)
    ]
    count, total = len(whole), whole.sum(axis=0)
    left_out = (total - whole) / (count - 1) if count > 1 else np.zeros((0, 3))
    value, cut = total / count, np.array([middles.mean(axis=0) for middles in cuts])
    return {
        name: Replicates(
            float(value[j]), left_out[:, j], cut[:, j], np.zeros(0), 0.0, 1.0, JOINT_SAMPLING, 0.5 / block.size
        )
        for j, name in enumerate(("positive_ratio", "negative_ratio", "zero_ratio"))
    }


def _middles(size: int, outliers: Outliers, probes: ProbeRuns, threshold: float) -> Float64Array:
    """What each probe tells of the three ratios: the middle of its enclosure, outliers counted. Shape (p, 3)."""
    dimension = size - len(outliers.values)
    above, below = (
        (
            (sign * outliers.values > threshold).sum()
            + dimension * _probe_masses(probes, threshold, sign).mean(axis=1)
        )
        / size
        for sign in (1.0, -1.0)
    )
    return np.column_stack([above, below, 1.0 - above - below])


def _outliers(block: BlockSpectrum, threshold: float, *, sign: float) -> int:
    """Number of deflated pairs with sign·λ > τ."""
    return 0 if block.outliers is None else int((sign * block.outliers.values > threshold).sum())


def _masses(block: BlockSpectrum, threshold: float, *, sign: float) -> Float64Array:
    """Bounds on the mass at sign·λ > τ in the complement, averaged over the probes. Shape (2,)."""
    assert block.probes is not None
    mean: Float64Array = _probe_masses(block.probes, threshold, sign).mean(axis=0)
    return mean


def _probe_masses(probes: ProbeRuns, threshold: float, sign: float) -> Float64Array:
    """Bounds on each probe's mass at sign·λ > τ. Shape (p, 2)."""
    betas = np.column_stack([probes.betas, probes.last_betas])
    return np.array([mass_beyond(sign * a, b, threshold) for a, b in zip(probes.alphas, betas, strict=True)])


def _bracket(block: BlockSpectrum, masses: Float64Array, outliers: int) -> Estimate:
    """Share of the block's eigenvalues beyond the threshold: outliers counted, the rest by their masses."""
    assert block.probes is not None
    dimension = block.size - (0 if block.outliers is None else len(block.outliers.values))
    probes = block.probes.num_probes
    lower, upper = float(masses[0]), min(float(masses[1]), 1.0)
    low, high = counts_beyond(lower, upper, probes, dimension)
    middle = min(max(dimension * (lower + upper) / 2, low), high)
    value, least, largest = ((outliers + count) / block.size for count in (middle, low, high))
    return Estimate(value, least, largest)
