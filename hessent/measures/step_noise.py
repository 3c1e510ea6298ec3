"""What the noise of mini-batches adds to the loss after a step that is a function of H.

The gradient of B samples drawn independently is g + ξ with E ξ = 0 and covariance Σ/B, Σ that of one sample's
gradient.  A step that is linear in the gradient, d = A g, then costs in expectation, in the quadratic model,

    N_b = ½ E[d_ξ·H d_ξ] = (1/2B) tr(H A Σ Aᵀ)

more than with the full gradient.  With A = a φ(H) that is (a²/2) E[ξ·h(H)ξ] for h(λ) = λ φ(λ)², a `Form`:

- from eigenvectors v_j of H and gradients of single samples, h(λ_j) times the mean of (v_j·(g_i − g))²/B: exact
  where they are of all samples;
- from mini-batches, whose ξ starts a Lanczos run each (Gauss quadrature, as for the gradient itself).

Σ is measured, not modelled.  Near the minimum of a well-specified model Σ ≈ kH with k = tr Σ/tr H, and then
newton's would be (k/2B) a² n, H^-½'s (k/2B) a² tr H and gradient descent's (k/2B) a² tr H².  On trained nets, whose
H has negative eigenvalues too, that was 4 to 7 times too much for newton, and 1.5 to 9 times for H^-½ (three nets
of 2,410 parameters, against the dense Σ and H).

Steps that are not linear (a sign or a cut along every eigendirection) are taken once for each mini-batch:
N_b = Σ_b ½ (d_b − d̄)·H(d_b − d̄) / (K − 1), the variance of the step itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.gradient_quadrature import GradientQuadrature
from hessent.measures.skewed_mean import skewed_mean
from hessent.measures.spectral_functions import SpectralFunction

Float64Array = NDArray[np.float64]

Form = Callable[[SpectralFunction], Estimate]  # h -> E[ξ·h(H)ξ]
Trace = Callable[[SpectralFunction], Estimate]  # h -> Σ_i h(λ_i)


@dataclass(frozen=True)
class StepNoise:
    """What is known of the noise of a mini-batch.

    Attributes
    ----------
    form : callable
        E[ξ·h(H)ξ] for a function h.
    components : Float64Array
        Gradients of K mini-batches along the Ritz vectors of the gradient's space, shape (K, m).
    """

    form: Form
    components: Float64Array  # (K, m)

    def linear(self, rate: float, function: SpectralFunction) -> Estimate:
        """Return N_b of d = −a φ(H) g, with a = rate and φ = function."""
        return times(self.form(lambda values: values * np.square(function(values))), 0.5 * rate**2)


def times(estimate: Estimate, factor: float) -> Estimate:
    """Return a number times a factor that is not negative."""
    if estimate.value is None:
        return estimate
    if estimate.exact:
        return Estimate.exactly(factor * estimate.value)
    low, high = (None if end is None else factor * end for end in (estimate.low, estimate.high))
    return Estimate(factor * estimate.value, low, high, reason=estimate.reason)


def form_of_samples(values: Float64Array, components: Float64Array, batch_size: int, *, whole: bool) -> Form:
    """Return the forms by single samples, along all eigenvectors of H.

    Parameters
    ----------
    values : Float64Array
        λ, shape (n,).
    components : Float64Array
        g_i − g along each eigenvector, shape (S, n).
    batch_size : int
        B.
    whole : bool
        Whether these are all samples, so that the forms are exact.
    """
    squares = np.square(components) / batch_size

    def form(function: SpectralFunction) -> Estimate:
        draws = squares @ function(values)
        return Estimate.exactly(float(draws.mean())) if whole else skewed_mean(draws)

    return form


def form_of_runs(runs: Callable[[], Sequence[GradientQuadrature | None]]) -> Form:
    """Return the forms by a Lanczos run from the noise of every mini-batch.

    The interval is that of the mean over mini-batches, longer by the mean of what the runs tell of their own error.

    Parameters
    ----------
    runs : callable
        Gives the quadratures, whose weights add up to ‖ξ‖² each, None for ξ = 0; called when a form is wanted.
    """

    def form(function: SpectralFunction) -> Estimate:
        found = [Estimate.exactly(0.0) if run is None else run.sum_of(function) for run in runs()]
        mean = skewed_mean(np.array([float(own.value or 0.0) for own in found]))
        if mean.value is None or mean.low is None or mean.high is None:
            return mean
        if any(own.half_width is None for own in found):
            return Estimate(mean.value, None, None)
        change = float(np.mean([own.half_width or 0.0 for own in found]))
        return Estimate(mean.value, mean.low - change, mean.high + change)

    return form


def formed_trace(values: Float64Array) -> Trace:
    """Return the sums over all eigenvalues (n,), exact."""
    return lambda function: Estimate.exactly(float(function(values).sum()))


def enclosed_trace(quadrature: GradientQuadrature, squared: Estimate) -> Trace:
    """Return enclosures of sums from tr H² and the converged pairs.

    For h(λ) = f(λ²) with f concave and f(0) = 0, as abs(λ)/(abs(λ) + δ) is. Over the n' eigenvalues that have
    not converged, with q = Σ λ² of those and r ≥ abs(λ) of each, concavity gives

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
