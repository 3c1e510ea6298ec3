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

Noise: sign and clipping are not linear, so with d̂_b the step by the gradient of mini-batch b, of K,

    N_b = Σ_i (λ_i/2) Σ_b (d̂_bi − mean)²/(K − 1),

and what is not known of the rest is bounded by what a sign, or a number cut at C, can vary: 1, or C², times
abs(λ)/p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.closed_steps import NEVER_SETTLES, ClosedStep, inverse, limit_of
from hessent.measures.gradient_quadrature import GradientQuadrature
from hessent.measures.skewed_mean import skewed_mean
from hessent.measures.spectral_functions import SpectralFunction
from hessent.measures.step_along import StepAlong
from hessent.measures.step_noise import StepNoise, Trace

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

    def noise(self, noise: StepNoise) -> Estimate:
        """N_b for step size 1."""
        values, roots = self._space.values[self.held], self._roots[self.held]
        along = noise.components[:, self.held]
        steps = np.sign(along) * roots
        if self._clip is not None:
            steps *= np.minimum(np.abs(along) * roots, self._clip)
        spread = np.square(steps - steps.mean(axis=0))
        draws = 0.5 * (spread @ values) * len(steps) / max(len(steps) - 1, 1)
        found = skewed_mean(draws)
        count = self._space.size - len(self.held)
        if count == 0 or found.value is None or found.low is None or found.high is None:
            return found
        rest = 0.5 * self._bound_of_shares(count) * (1.0 if self._clip is None else self._clip**2)
        return Estimate(found.value, found.low - rest, found.high + rest)
