"""`ExplicitStep`: an optimizer's next step as a vector, and what is to be known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

ByParameter = Mapping[str, Tensor]
Map = Callable[[ByParameter], dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class ExplicitStep:
    """One optimizer's next step d = rate · direction.

    Attributes
    ----------
    optimizer : str
        A name of `hessent.measures.step_analysis.OPTIMIZERS`.
    source : str
        ``state``, ``rebuilt`` or ``closed-form``, of the same module.
    told : str
        The same as a clause, with what a stranger needs to know; where there is no direction, why.
    direction : mapping of str to Tensor, or None
        By parameter, float64, for a learning rate of 1; None where the step cannot be taken here.
    apply : callable or None
        The direction that another gradient in the place of the full one gives, the rest of the optimizer held:
        moving averages from before the step, preconditioners as they are in this step.
    linear : bool
        Whether `apply` is affine in the gradient.
    metric : mapping of str to Tensor, or None
        The diagonal P > 0 with direction = −P⁻¹ (gain · gradient + …); None where it is none.
    inverse_root : callable or None
        v → P^{-1/2} v of the same P, or of one that is no diagonal: λ_max of P^{-1/2} H P^{-1/2} is the largest
        eigenvalue of v → P^{-1/2} H P^{-1/2} v.  None where no positive definite P stands behind the step.
    momentum : float
        μ or β₁, with which the step's own average goes on; 0 without.
    gain : float
        Share of the newest gradient in that average: 1 − τ for SGD with dampening τ, 1 − β₁ for Adam.
    stable_up_to : float or None
        Largest learning rate · λ_max(P^{-1/2} H P^{-1/2}) at which iterating is stable while P is held:
        (2 + 2 μ) / gain, with Nesterov's momentum less; None where there is no such limit.
    customary_rate : float
        A learning rate in use, where nothing better is known.
    clip : float or None
        C, where every coordinate is clipped.
    """

    optimizer: str
    source: str
    told: str
    direction: ByParameter | None
    apply: Map | None = None
    linear: bool = False
    metric: ByParameter | None = None
    inverse_root: Map | None = None
    momentum: float = 0.0
    gain: float = 1.0
    stable_up_to: float | None = None
    customary_rate: float = 1.0
    clip: float | None = None
