"""Gauss–Radau rules: one node is prescribed.

With a node at τ they enclose the mass beyond τ (Chebyshev–Markov–Stieltjes): the weight of nodes strictly beyond τ
is a lower bound, with the weight at τ added an upper bound.

With a node at zero, where functions of abs(λ) have their kink, the error no longer depends on where the nodes
happen to lie.  Such a rule gives abs(λ)^α too little, for a Gauss rule puts the mass near zero on both sides of it.

References
----------
G. H. Golub, "Some modified matrix eigenvalue problems", SIAM Review 15, 1973.
G. H. Golub and G. Meurant, *Matrices, Moments and Quadrature with Applications*, 2010, section 6.
"""

from __future__ import annotations

import numpy as np
import scipy  # its parts load on first use: a table of a ready file needs none of them
from numpy.typing import NDArray

from hessent.measures.quadrature import Rule, gauss_rule, steps_taken
from hessent.spectra.recurrences import ProbeRuns

Float64Array = NDArray[np.float64]

_AT_ZERO = 1e-7  # of the largest: nearer to zero a node is as good as there


def mass_beyond(alphas: Float64Array, betas: Float64Array, threshold: float) -> tuple[float, float]:
    """Enclose a probe's spectral mass above `threshold` by the Gauss–Radau rule with a node there.

    Parameters
    ----------
    alphas : Float64Array
        Diagonal, shape (m,).
    betas : Float64Array
        Off-diagonals with the last residual norm appended, shape (m,).
    threshold : float
        The prescribed node τ, in the unit of the coefficients.

    Returns
    -------
    tuple of float
        Lower and upper bound on the share of the mass at λ > τ; equal where the recurrence closed. Rigorous up to
        rounding.
    """
    length = steps_taken(betas)
    last = betas[length - 1]
    if last == 0.0:  # the Krylov space is invariant: the Gauss rule is the measure itself
        nodes, vectors = scipy.linalg.eigh_tridiagonal(alphas[:length], betas[: length - 1])
        above = float((vectors[0] ** 2)[nodes > threshold].sum())
        return above, above
    nodes, vectors = scipy.linalg.eigh_tridiagonal(
        np.append(alphas[:length], _radau_diagonal(alphas[:length], betas[:length], threshold)), betas[:length]
    )
    weights = vectors[0] ** 2
    prescribed = int(np.argmin(np.abs(nodes - threshold)))
    above = float(weights[prescribed + 1 :].sum())
    return above, min(above + float(weights[prescribed]), 1.0)


def rules_with_zero(probes: ProbeRuns, num_steps: int) -> list[Rule]:
    """Return the Gauss–Radau rules of all probes with a node prescribed at zero, after `num_steps` steps.

    Of a recurrence that closed, and where a Gauss node lies at zero already, it is the Gauss rule.
    """
    betas = np.column_stack([probes.betas, probes.last_betas])
    return [_rule_with_zero(a, b, num_steps) for a, b in zip(probes.alphas, betas, strict=True)]


def _rule_with_zero(alphas: Float64Array, betas: Float64Array, num_steps: int) -> Rule:
    length = min(num_steps, steps_taken(betas))
    last = betas[length - 1]
    if last == 0.0:
        return gauss_rule(alphas, betas, length)
    diagonal = _radau_diagonal(alphas[:length], betas[:length], 0.0)
    largest = float(np.abs(alphas[:length]).max() + betas[:length].max())
    # A Gauss node within 1e-7 of zero drives the last entry to infinity, and all eigenvalues' rounding with it.
    if abs(diagonal) > largest / _AT_ZERO:
        return gauss_rule(alphas, betas, length)
    nodes, vectors = scipy.linalg.eigh_tridiagonal(np.append(alphas[:length], diagonal), betas[:length])
    residuals = last * np.hypot(vectors[-1], vectors[-2])
    return Rule(np.asarray(nodes, np.float64), np.asarray(vectors[0] ** 2, np.float64), residuals)


def _radau_diagonal(alphas: Float64Array, betas: Float64Array, threshold: float) -> float:
    """The last diagonal entry that makes `threshold` an eigenvalue of the bordered tridiagonal matrix.

    α̂ = τ + β_m² eᵀ(T − τ)⁻¹e, by the stable recurrence of the pivots of T − τ.
    """
    pivot = alphas[0] - threshold
    tiny = np.finfo(np.float64).tiny ** 0.5
    for alpha, beta in zip(alphas[1:], betas, strict=False):
        pivot = alpha - threshold - beta**2 / (pivot if pivot != 0.0 else tiny)
    return float(threshold + betas[-1] ** 2 / (pivot if pivot != 0.0 else tiny))
