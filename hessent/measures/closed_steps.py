"""Steps that are functions of H: Newton, its normalized relatives, and gradient descent, in closed form.

H = Σ λ_i v_i v_iᵀ, ĝ_i = v_i·g, and p_i = abs(λ_i) + δ stands for λ_i wherever a step is built from H: that is
positive whatever the sign of λ.  What the step does is still told by H itself: for d̂_i = v_i·d,

    D = Σ −(ĝ_i d̂_i + ½ λ_i d̂_i²),      d·Hd = Σ λ_i d̂_i².

| step, of size a                | d̂_i                          | D_i where λ > 0 and δ = 0     | λ_i d̂_i² there |
| newton                         | −a ĝ/p                        | a(1 − a/2) ĝ²/λ               | a² ĝ²/λ        |
| normalized-ngd                 | −a ĝ/(p G),  G² = Σ ĝ²/p      | together a G − a²/2           | together a²    |
| gradient-norm-ngd              | −a ĝ/√p                       | a(1/√λ − a/2) ĝ²              | a² ĝ²          |
| eigenbasis-ngd                 | −a sign(ĝ)/√p                 | a abs(ĝ)/√λ − a²/2            | a²             |
| gd                             | −a ĝ                          | a ĝ²(1 − aλ/2)                | a² λ ĝ²        |
| normalized-gd, L = max abs(λ)  | −a ĝ/(√L ‖g‖)                 | together a‖g‖/√L − ½ a² r/L   | together a² r/L|

with r = g·Hg/‖g‖².  In the metric L·I, which that step takes for H, the last would be a‖g‖/√L − a²/2 and a²: what
is told is what H makes of it.  Clipped at C, with a the rate of the step that is cut:

| normalized-ngd                 | −a min(1, C/G) ĝ/p            |
| gradient-norm-ngd              | −a min(1, C√p) ĝ/p            |
| eigenbasis-ngd                 | −a min(1, C√p/abs(ĝ)) ĝ/p     |

Each is a times a fixed direction, so `StepAlong` has D, the best step size and d·Hd.

Stability: while d = −a φ(H) g is iterated on a quadratic, a component with λ > 0 shrinks if and only if
a λ φ(λ) < 2.  λφ(λ) rises with λ for every φ here, so the limit is 2/(λφ(λ)) at λ_max: gd 2/λ_max, newton
2(1 + δ/λ_max), gradient-norm-ngd 2√p/λ = 2/√λ_max without damping, clipped 2p/(λ min(1, C√p)).  Clipped
normalized-ngd and eigenbasis-ngd are Newton's step near the minimum and have its limit.  Steps of fixed length
have none.  Along λ < 0 the quadratic has no minimum, and nothing is said of it.

All sums over i are g·h(H)g, from `GradientQuadrature`, but for eigenbasis-ngd: see `eigenbasis_steps`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.gradient_quadrature import GradientQuadrature
from hessent.measures.spectral_functions import SpectralFunction
from hessent.measures.step_along import StepAlong, decrease_along
from hessent.measures.step_noise import StepNoise, times

Float64Array = NDArray[np.float64]

NEVER_SETTLES = "a step of fixed length never settles"
NO_POSITIVE = "no eigenvalue seen is positive"


@dataclass(frozen=True)
class ClosedStep:
    """One step that is a function of H, for any step size.

    Attributes
    ----------
    optimizer : str
        Its name among `OPTIMIZERS`.
    told : str
        A clause: what was built, and how.
    along : StepAlong
        D, d·Hd and the best step size.
    values, components : Float64Array
        θ and ĝ ≥ 0 of the space in which the step lies, shape (m,).
    moves : Float64Array
        d̂ along each Ritz vector for step size 1, shape (m,); NaN where it is not known.
    stability_limit : Estimate
        Or unknown, with the reason.
    noise_of : callable
        N_b for step size 1.
    clip : float or None
        C.
    """

    optimizer: str
    told: str
    along: StepAlong
    values: Float64Array  # (m,)
    components: Float64Array  # (m,)
    moves: Float64Array  # (m,)
    stability_limit: Estimate
    noise_of: Callable[[StepNoise], Estimate]
    clip: float | None = None

    @property
    def explicit(self) -> bool:
        """Whether the step is known as a vector: `GradientSpace.combine` of rate times `moves`."""
        return not bool(np.isnan(self.moves).any())

    def decrease(self, rate: float) -> Estimate:
        """Return D, in the unit of the loss."""
        return self.along.decrease(rate)

    def norm(self, rate: float) -> Estimate:
        """Return d·Hd, in the unit of the loss."""
        return self.along.norm(rate)

    def best(self) -> Estimate:
        """Return the step size of the largest D; unknown where none is largest."""
        return self.along.best()

    def best_decrease(self) -> Estimate:
        """Return the largest D, in the unit of the loss."""
        return self.along.best_decrease()

    def noise(self, rate: float, noise: StepNoise) -> Estimate:
        """Return N_b, in the unit of the loss: it goes with the square of the step size."""
        return times(self.noise_of(noise), rate**2)

    def decreases(self, rate: float) -> Float64Array:
        """Return D_i along every Ritz vector, shape (m,); NaN where it is not known."""
        return decrease_along(self.values, self.components, rate * self.moves)


def damped(damping: float) -> SpectralFunction:
    """p(λ) = abs(λ) + δ."""
    return lambda values: np.asarray(np.abs(values) + damping)


def inverse(damping: float, power: float = 1.0) -> SpectralFunction:
    """p(λ)^-power, and zero where p is zero: without damping, the null space is left alone."""
    metric = damped(damping)

    def function(values: Float64Array) -> Float64Array:
        own = metric(values)
        return np.asarray(np.where(own > 0.0, np.where(own > 0.0, own, 1.0) ** -power, 0.0))

    return function


def closed_steps(
    space: GradientQuadrature, *, damping: float, largest: Estimate | None = None, clip: float | None = None
) -> dict[str, ClosedStep]:
    """Return the steps of H by name, all but ``eigenbasis-ngd`` and ``ngd``, which have constructors of their own.

    Parameters
    ----------
    space : GradientQuadrature
        Of the gradient and H.
    damping : float
        δ ≥ 0, in the unit of the eigenvalues.
    largest : Estimate or None
        λ_max; None for that of `space`.
    clip : float or None
        C of ``normalized-ngd`` and ``gradient-norm-ngd``; None for the steps of fixed length.
    """
    builder = _Builder(space, damping, space.largest() if largest is None else largest)
    steps = (
        builder.newton(),
        builder.normalized(clip),
        builder.gradient_norm(clip),
        builder.descent(),
        builder.normalized_descent(),
    )
    return {step.optimizer: step for step in steps}


def limit_of(function: SpectralFunction, largest: Estimate) -> Estimate:
    """Return 2/(λφ(λ)) at λ_max, for λφ(λ) that rises with λ; its interval turns that of λ_max around."""
    if largest.value is None:
        return largest
    if largest.value <= 0.0:
        return Estimate.unknown(NO_POSITIVE)

    def at(value: float | None) -> float | None:
        if value is None or value <= 0.0:
            return None
        return 2.0 / float(value * function(np.array([value]))[0])

    return Estimate(at(largest.value), at(largest.high), at(largest.low), exact=largest.exact)


@dataclass(frozen=True)
class _Builder:
    space: GradientQuadrature
    damping: float
    largest: Estimate

    def newton(self) -> ClosedStep:
        function = inverse(self.damping)
        return self._step("newton", "H^-1 g, abs(λ) + δ for λ", function, limit_of(function, self.largest))

    def normalized(self, clip: float | None) -> ClosedStep:
        function = inverse(self.damping)
        lengths = np.sqrt(self.space.readings(function))  # G
        if clip is None:
            told, limit, factors = "H^-1 g of length 1 in H", Estimate.unknown(NEVER_SETTLES), 1.0 / lengths
        else:
            told, limit = "H^-1 g, its length in H clipped", limit_of(function, self.largest)
            factors = np.minimum(1.0, clip / lengths)
        return self._step("normalized-ngd", told, function, limit, factors=factors, clip=clip)

    def gradient_norm(self, clip: float | None) -> ClosedStep:
        told = "H^-1/2 g, abs(λ) + δ for λ"
        function = inverse(self.damping, 0.5)
        if clip is not None:
            root, told = function, "H^-1 g, each direction clipped at C√λ"

            def function(values: Float64Array) -> Float64Array:
                return np.asarray(root(values) * np.minimum(root(values), clip))

        return self._step("gradient-norm-ngd", told, function, limit_of(function, self.largest), clip=clip)

    def descent(self) -> ClosedStep:
        return self._step("gd", "g", np.ones_like, limit_of(np.ones_like, self.largest), polynomial=True)

    def normalized_descent(self) -> ClosedStep:
        length = float(np.abs(self.space.values).max())  # L
        factor = (length * self.space.norm_squared) ** -0.5 if length > 0.0 else 0.0
        told, limit = "g of length 1 in L·I, L the largest abs(λ)", Estimate.unknown(NEVER_SETTLES)
        return self._step("normalized-gd", told, np.ones_like, limit, factors=np.array([factor]), polynomial=True)

    def _step(
        self,
        optimizer: str,
        told: str,
        function: SpectralFunction,
        limit: Estimate,
        *,
        factors: Float64Array | None = None,
        clip: float | None = None,
        polynomial: bool = False,
    ) -> ClosedStep:
        """The step −s φ(H) g, with s of every reading in `factors`.

        The noise is that of a step whose s is kept: it is the length by the full gradient.
        """
        space = self.space
        if polynomial:  # Gauss quadrature is exact for it, after one step already
            slopes = np.array([space.norm_squared])
            curvatures = np.array([float(space.weights @ space.values)])
        else:
            slopes = space.readings(function)
            curvatures = space.readings(lambda values: values * np.square(function(values)))
        factors = np.ones(len(slopes)) if factors is None else factors
        own = float(factors[0])
        known: Literal["exact", "estimate"] = "exact" if space.closed or polynomial else "estimate"
        return ClosedStep(
            optimizer,
            told,
            StepAlong(factors * slopes, factors**2 * curvatures, known),
            space.values,
            space.components,
            -own * space.components * function(space.values),
            limit,
            lambda noise: noise.linear(own, function),
            clip,
        )
