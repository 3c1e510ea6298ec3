"""The step that has the same length along every eigendirection of H, and its clipped variant.

    d̂_i = −a sign(ĝ_i)/√p_i,            clipped: −a min(x_i, C) sign(ĝ_i)/√p_i,      x_i = abs(ĝ_i)/√p_i,

so with y = 1, or y = min(x, C):  b = −g·u = Σ x y  and  c = u·Hu = Σ (λ/p) y².  This is no function of H applied to
g: a run started at the gradient does not know how the part of it that has not converged is spread.  Where H was
formed all is exact; else converged pairs are taken as they are, and over the n' other directions, with
S = Σ ĝ²/p = Σ x² and q ≥ Σ abs(λ)/p (at most n'),

    y = 1:           √S ≤ Σ x y ≤ √(n' S),                    abs(Σ (λ/p) y²) ≤ q,
    y = min(x, C):   S min(1, C/√S) ≤ Σ x y ≤ min(S, C√(n' S)),   abs(Σ (λ/p) y²) ≤ min(S, C² q),

because x ≤ √S.  The value told is the end that makes D smallest, and the step size that is best there decreases the
model's loss for certain.  Where √S ≤ C nothing of the rest is clipped: it is Newton's step, a function of H, with
the error of any such.

Where eigenvalues are equal, so that their eigenvectors are not determined, those are meant along which the gradient
has one component.  A component that is zero (to 1e-12 of the gradient) has sign zero; so all is exact for a closed
run too.

Noise: sign and clipping are not linear, so N_b = (a²/2) Σ (λ/p) Var, with the variance of the sign, or of the cut
ĝ + ξ over √p, for Gaussian ξ of variance k abs(λ)/B: from all eigenvalues, else enclosed, because a sign has
variance 1 at most, and a number cut at C has C² at most.
"""

from __future__ import annotations

import numpy as np
import scipy  # its parts load on first use: a table of a ready file needs none of them
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.closed_steps import NEVER_SETTLES, ClosedStep, damped, inverse, limit_of
from hessent.measures.gradient_quadrature import GradientQuadrature
from hessent.measures.spectral_functions import SpectralFunction
from hessent.measures.step_along import StepAlong
from hessent.measures.step_noise_model import NoiseModel, Trace, clipped_variance

Float64Array = NDArray[np.float64]

_NOTHING = 1e-12  # of the gradient: a component that is rounding, whose sign says nothing


def eigenbasis_step(
    space: GradientQuadrature,
    *,
    damping: float,
    largest: Estimate | None = None,
    clip: float | None = None,
    trace: Trace | None = None,
) -> ClosedStep:
    """Return the step of equal length along every eigendirection.

    Parameters
    ----------
    space : GradientQuadrature
        Of the gradient and H.
    damping : float
        δ ≥ 0, in the unit of the eigenvalues.
    largest : Estimate or None
        λ_max, for the limit of the clipped variant; None for that of `space`.
    clip : float or None
        C; None for steps of fixed length.
    trace : callable or None
        Sums over the spectrum of H, which make the enclosure of d·Hd narrower.
    """
    basis = _Eigenbasis(space, damping, clip, trace)
    limit = Estimate.unknown(NEVER_SETTLES)
    told = "the same length in H along every eigendirection"
    if clip is not None:
        limit = limit_of(inverse(damping), space.largest() if largest is None else largest)
        told = "H^-1 g, its length in H clipped along every eigendirection"
    if not basis.known:
        told += f", enclosed but for {len(basis.held)} directions"
    return ClosedStep(
        "eigenbasis-ngd",
        told,
        basis.along(),
        space.values,
        space.components,
        basis.moves(),
        limit,
        basis.noise,
        clip,
    )


class _Eigenbasis:
    """What is known of x and y."""

    def __init__(self, space: GradientQuadrature, damping: float, clip: float | None, trace: Trace | None) -> None:
        self._space, self._damping, self._clip, self._trace = space, damping, clip, trace
        self.held = np.arange(len(space.values)) if space.closed else space.converged
        self._roots = inverse(damping, 0.5)(space.values)  # 1/√p
        self._share = space.values * inverse(damping)(space.values)  # λ/p
        x = space.components * self._roots
        seen = space.components > _NOTHING * np.sqrt(space.norm_squared)
        self._lengths = np.where(seen, 1.0, 0.0) if clip is None else np.minimum(x, clip)  # y
        self._x = x
        whole = space.sum_of(inverse(damping))
        converged = float(np.square(x[self.held]).sum())
        ends = (converged if whole.low is None else whole.low, np.inf if whole.high is None else whole.high)
        self._left = [max(end - converged, 0.0) for end in ends]  # ends of S
        self.known = space.closed or (clip is not None and float(np.sqrt(self._left[1])) <= clip)

    def moves(self) -> Float64Array:
        """d̂ for step size 1; NaN along Ritz vectors that have not converged."""
        found = -self._lengths * self._roots
        if not self.known:
            found[np.setdiff1d(np.arange(len(found)), self.held)] = np.nan
        return found

    def along(self) -> StepAlong:
        """Slope and curvature, enclosed by the rest where there is one."""
        slope = float((self._x * self._lengths)[self.held].sum())
        curvature = float((self._share * self._lengths**2)[self.held].sum())
        if self._space.closed:
            return StepAlong(np.array([slope]), np.array([curvature]), "exact")
        if self.known:
            return self._newton_beside(slope, curvature)
        (low, high), spread = self._rest()
        slopes = np.array([slope + low, slope + high])
        return StepAlong(slopes, np.array([curvature + spread, curvature - spread]), "enclosure")

    def _newton_beside(self, slope: float, curvature: float) -> StepAlong:
        """The converged pairs, and Newton's step in the rest."""
        space, function = self._space, inverse(self._damping)
        slopes = space.readings(function)
        curvatures = space.readings(lambda values: values * np.square(function(values)))
        squares = np.square(self._x[self.held])
        slopes += slope - float(squares.sum())
        curvatures += curvature - float((self._share[self.held] * squares).sum())
        return StepAlong(slopes, curvatures, "estimate")

    def _rest(self) -> tuple[tuple[float, float], float]:
        """Ends of Σ x y, and a bound of abs(Σ (λ/p) y²), over the directions that have not converged."""
        count = self._space.size - len(self.held)
        least, most = self._left
        bound = self._bound_of_shares(count)
        if self._clip is None:
            return (float(np.sqrt(least)), float(np.sqrt(count * most))), bound
        lowest = least * min(1.0, self._clip / np.sqrt(least)) if least > 0.0 else 0.0
        highest = min(most, self._clip * np.sqrt(count * most))
        return (float(lowest), float(highest)), float(min(most, self._clip**2 * bound))

    def _bound_of_shares(self, count: int) -> float:
        """q, a bound of Σ abs(λ)/p over so many directions that have not converged."""
        if self._trace is None:
            return float(count)
        total = self._trace(self._share_of).high
        if total is None:
            return float(count)
        return float(min(count, max(total - np.abs(self._share[self.held]).sum(), 0.0)))

    @property
    def _share_of(self) -> SpectralFunction:
        metric = inverse(self._damping)
        return lambda values: np.abs(values) * metric(values)

    def noise(self, model: NoiseModel) -> Estimate:
        """N_b for step size 1."""
        scale = model.scale
        if scale.value is None:
            return scale
        values = self._space.values[self.held]

        def of(k: float) -> float:
            deviations = np.sqrt(max(k, 0.0) * np.abs(values) / model.batch_size)
            variance = self._variance(self._space.components[self.held], deviations, values)
            return 0.5 * float((self._share[self.held] * variance).sum())

        own = of(scale.value)
        if self._space.complete and scale.exact:
            return Estimate.exactly(own)
        ends = [own, *(of(end) for end in (scale.low, scale.high) if end is not None)]
        if self._space.complete:
            return Estimate(own, min(ends), max(ends)) if len(ends) == 3 else Estimate(own, None, None)
        spread = self._noise_of_the_rest(model)
        if spread is None:
            return Estimate(own, None, None)
        return Estimate(own, min(ends) - spread, max(ends) + spread)

    def _variance(self, means: Float64Array, deviations: Float64Array, values: Float64Array) -> Float64Array:
        """Variance of the sign, or of the cut number over √p."""
        if self._clip is None:
            ratio = means / np.where(deviations > 0.0, deviations, 1.0) / np.sqrt(2.0)
            bias = np.where(deviations > 0.0, scipy.special.erf(ratio), np.sign(means))
            return np.asarray(1.0 - bias**2)
        metric = damped(self._damping)(values)
        cut = clipped_variance(means, deviations, self._clip * np.sqrt(metric))
        return cut * inverse(self._damping)(values)

    def _noise_of_the_rest(self, model: NoiseModel) -> float | None:
        count = self._space.size - len(self.held)
        bound = self._bound_of_shares(count)
        if self._clip is None:
            return 0.5 * bound
        return None if model.scale.high is None else 0.5 * self._clip**2 * bound
