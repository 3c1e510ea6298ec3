"""Sums over the eigendirections of H, weighted by the gradient: Σ ĝ_i² h(λ_i) = g·h(H)g.

With the eigenpairs (λ_i, v_i) of H and ĝ_i = v_i·g, both forms are the same number.  From m steps of Lanczos
started at g/‖g‖, with Ritz values θ_j and the squares w_j of the gradient's components along the Ritz vectors,

    g·h(H)g ≈ Σ_j w_j h(θ_j),      Σ_j w_j = ‖g‖²:

Gauss quadrature, exact for polynomials h of degree 2m − 1 and for every h once the Krylov space is invariant
(closed).  Where H was formed, θ and w are the eigenvalues and ĝ² themselves.

An unclosed run tells its error by how much a number has changed since earlier in the run: half the interval is the
largest difference to the same number by any of the last half of the steps.  It is an estimate, no bound.

Reference: G. H. Golub and G. Meurant, *Matrices, Moments and Quadrature with Applications*, 2010, chapters 3 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.spectral_functions import SpectralFunction

Float64Array = NDArray[np.float64]

CONVERGED = 1e-2  # residual of a Ritz pair as a share of abs(θ), up to which it counts as an eigenpair


@dataclass(frozen=True)
class GradientQuadrature:
    """Where the gradient lies in the spectrum of H.

    Attributes
    ----------
    values : Float64Array
        Ritz values θ, ascending; all eigenvalues where the matrix was formed. Shape (m,).
    weights : Float64Array
        Squared components of the gradient, which add up to ‖g‖². Shape (m,).
    residuals : Float64Array
        ‖H y − θ y‖ of every Ritz vector y. Shape (m,).
    size : int
        n.
    closed : bool
        Whether every sum is exact up to the rounding of the products.
    complete : bool
        Whether `values` are all n eigenvalues: a closed run sees no direction that the gradient has nothing along.
    earlier : tuple of (values, weights)
        The same after fewer steps, the longest run first; empty where closed.
    """

    values: Float64Array  # (m,)
    weights: Float64Array  # (m,)
    residuals: Float64Array  # (m,)
    size: int
    closed: bool
    complete: bool
    earlier: tuple[tuple[Float64Array, Float64Array], ...] = ()

    @property
    def norm_squared(self) -> float:
        """‖g‖²."""
        return float(self.weights.sum())

    @property
    def components(self) -> Float64Array:
        """The gradient along each Ritz vector, which is turned so that it is not negative: √w, shape (m,)."""
        return np.asarray(np.sqrt(self.weights))

    @property
    def converged(self) -> NDArray[np.intp]:
        """Places of the converged pairs, by falling abs(θ), shape (k,)."""
        order = np.argsort(-np.abs(self.values), kind="stable")
        found: NDArray[np.intp] = order[self.residuals[order] <= CONVERGED * np.abs(self.values[order])]
        return found

    def readings(self, function: SpectralFunction) -> Float64Array:
        """Return Σ w h(θ) by all steps, then by each of the earlier, shape (r,)."""
        runs = ((self.values, self.weights), *self.earlier)
        return np.array([float(weights @ function(values)) for values, weights in runs])

    def sum_of(self, function: SpectralFunction) -> Estimate:
        """Return g·h(H)g: exact where closed, else an estimate with the change since half of the steps."""
        return estimate_of(self.readings(function), exact=self.closed)

    def largest(self) -> Estimate:
        """Return λ_max: exact where complete, else the largest Ritz value θ, with [θ, θ + its residual].

        θ is never above λ_max, and an eigenvalue lies within the residual of it.  That this is the largest one
        holds unless the gradient has next to nothing along the eigenvector of a larger one.
        """
        place = int(np.argmax(self.values))
        value = float(self.values[place])
        if self.complete:
            return Estimate.exactly(value)
        return Estimate(value, value, value + float(self.residuals[place]))


def estimate_of(readings: Float64Array, *, exact: bool) -> Estimate:
    """Return the first reading, with half the interval its largest difference to any other; open without others."""
    value = float(readings[0])
    if exact:
        return Estimate.exactly(value)
    if len(readings) < 2:
        return Estimate(value, None, None)
    half = float(np.abs(readings[1:] - value).max())
    return Estimate(value, value - half, value + half)
