"""What the noise of mini-batches adds to the expected loss of one step, by a model of that noise.

The gradient of B samples drawn independently is g + ξ with E ξ = 0 and covariance Σ/B, Σ that of one sample's
gradient.  A step that is linear in the gradient, d = A g, then costs in expectation, in the quadratic model,

    N_b = ½ E[d_ξ·H d_ξ] = (1/2B) tr(H A Σ Aᵀ)

more than with the full gradient.  The model: Σ ≈ kH with k = tr Σ / tr H (measured from gradients of batches by who
asks).  With A = a φ(H),

    N_b = (k/2B) a² Σ_i λ_i² φ(λ_i)².

Newton, φ = 1/λ: (k/2B) a² n.  φ = λ^-½: (k/2B) a² tr H.  Gradient descent, φ = 1: (k/2B) a² tr H².  With damping,
λ²/(abs(λ) + δ)² instead of 1, and so on.  A covariance has no negative eigenvalue, so along λ < 0 the model cannot
hold; its terms stay positive there (λ·kλ), which counts as a cost what noise along negative curvature gains.

The sum over the spectrum is `Trace`: exact from all eigenvalues, else enclosed from tr H², or estimated by probes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load on first use: a table of a ready file needs none of them
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.gradient_quadrature import GradientQuadrature
from hessent.measures.spectral_functions import SpectralFunction

Float64Array = NDArray[np.float64]
_NODES = 24  # for a function that is smooth on their scale

Trace = Callable[[SpectralFunction], Estimate]  # h -> Σ_i h(λ_i)


@dataclass(frozen=True)
class NoiseModel:
    """Σ ≈ kH, for batches of B samples.

    Attributes
    ----------
    scale : Estimate
        k ≥ 0.
    batch_size : int
        B.
    trace : callable
        Sums of functions over the spectrum of H.
    """

    scale: Estimate
    batch_size: int
    trace: Trace

    def linear(self, rate: float, function: SpectralFunction) -> Estimate:
        """Return N_b of d = −a φ(H) g, with a = rate and φ = function."""
        total = self.trace(lambda values: np.square(values * function(values)))
        factor = times(self.scale, Estimate.exactly(rate**2 / (2 * self.batch_size)))
        return times(factor, total)


def times(left: Estimate, right: Estimate) -> Estimate:
    """Return the product of two numbers that are not negative, with the product of their intervals."""
    for factor in (left, right):
        if factor.value is None:
            return factor
    if left.exact and right.exact:
        return Estimate.exactly(float(left.value * right.value))  # type: ignore[operator]

    def end(name: str) -> float | None:
        first, second = getattr(left, name), getattr(right, name)
        return None if first is None or second is None else max(first, 0.0) * max(second, 0.0)

    return Estimate(left.value * right.value, end("low"), end("high"))  # type: ignore[operator]


def formed_trace(values: Float64Array) -> Trace:
    """Return the sums over all eigenvalues (n,), exact."""
    return lambda function: Estimate.exactly(float(function(values).sum()))


def enclosed_trace(quadrature: GradientQuadrature, squared: Estimate) -> Trace:
    """Return enclosures of sums from tr H² and the converged pairs.

    For h(λ) = f(λ²) with f concave and f(0) = 0: every φ of the closed steps makes λ²φ(λ)² such a function, and
    abs(λ)/(abs(λ) + δ) is one.  Over the n' eigenvalues that have not converged, with q = Σ λ² of those and r ≥
    abs(λ) of each, concavity gives

        q f(r²)/r²  ≤  Σ f(λ²)  ≤  n' f(q/n').

    The lower end is given as the value.  r is the largest abs(θ) + residual among the Ritz values that have not
    converged: right unless the gradient has next to nothing along the eigenvector of a larger one.

    Parameters
    ----------
    quadrature : GradientQuadrature
        Of the gradient.
    squared : Estimate
        tr H².
    """
    held = quadrature.converged
    found = quadrature.values[held]
    free = np.setdiff1d(np.arange(len(quadrature.values)), held)
    bounds = np.abs(quadrature.values[free]) + quadrature.residuals[free]
    largest = float(bounds.max() if len(free) else np.abs(quadrature.values).max())
    count = quadrature.size - len(held)

    def rest(square: float | None) -> float | None:
        return None if square is None else max(square - float(np.square(found).sum()), 0.0)

    def trace(function: SpectralFunction) -> Estimate:
        if squared.value is None:
            return squared
        own = float(function(found).sum())
        at_largest = float(function(np.array([largest]))[0])

        def least(q: float | None) -> float | None:
            return None if q is None else own + (q * at_largest / largest**2 if largest > 0.0 else 0.0)

        def most(q: float | None) -> float | None:
            if q is None or count == 0:
                return own if count == 0 else None
            return own + count * float(function(np.array([np.sqrt(q / count)]))[0])

        return Estimate(least(rest(squared.value)), least(rest(squared.low)), most(rest(squared.high)))

    return trace


def clipped_variance(means: Float64Array, deviations: Float64Array, limits: Float64Array) -> Float64Array:
    """Return the variance of a Gaussian cut off at ±limit.

    For x = μ + σz cut to [−c, c], with l = −c − μ, h = c − μ, α = l/σ, β = h/σ and y the cut x − μ,

        E y  = l Φ(α) + h (1 − Φ(β)) + σ (φ(α) − φ(β)),
        E y² = l² Φ(α) + h² (1 − Φ(β)) + σ² (Φ(β) − Φ(α) + α φ(α) − β φ(β)).

    Where c < σ their difference is mostly rounding, and by parts, with F(t) = Φ((t − μ)/σ), the variance is
    2 ∫ (c − t) F dt − (∫ F dt)² over [−c, c]: by Gauss and Legendre, as F is smooth there.

    Parameters
    ----------
    means, deviations, limits : Float64Array
        μ, σ ≥ 0 and c > 0, shape (k,).
    """
    mean, spread = np.abs(means), np.maximum(deviations, 1e-300)
    low, high = -limits - mean, limits - mean
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        a, b = low / spread, high / spread
        below, above = scipy.special.ndtr(a), scipy.special.ndtr(-b)
        at_a, at_b = (np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi) for t in (a, b))
        edges = np.where(at_a > 0.0, a, 0.0) * at_a - np.where(at_b > 0.0, b, 0.0) * at_b
        first = low * below + high * above + spread * (at_a - at_b)
        second = low**2 * below + high**2 * above + spread**2 * (1.0 - above - below + edges)
        wide = np.maximum(second - first**2, 0.0)
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        shares = scipy.special.ndtr((limits[:, None] * nodes - mean[:, None]) / spread[:, None])  # F at each node
        narrow = limits**2 * (2 * shares @ (weights * (1.0 - nodes)) - np.square(shares @ weights))
    return np.asarray(np.where(deviations > 0.0, np.where(limits < deviations, narrow, wide), 0.0))
