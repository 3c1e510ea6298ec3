"""The metric in which Adam is gradient descent with momentum.

After t steps Adam holds m and v, moving averages of gradients and of their squares, and its update is

    θ' = θ − η m̂ / (√v̂ + ε) with m̂ = m / (1 − β₁^t) and v̂ = v / (1 − β₂^t).

So

    θ' = θ − η P⁻¹ m,    m' = β₁ m + (1 − β₁) g,    P = diag((√(v / (1 − β₂^t)) + ε) · (1 − β₁^t)),

which in the coordinates P^{1/2} θ is gradient descent with a momentum of exponential averages on the Hessian
P^{-1/2} H P^{-1/2}.  While P is held, steps along its eigenvalue λ are stable up to λ = (2 + 2β₁) / ((1 − β₁) η);
P changes slowly where β₂ is near 1, and full-batch training then stays near that limit.  With `amsgrad`, v is the
largest so far.  Decay of the weights is left out, be it inside the gradient or beside it.

Where no gradient ever reached a parameter, v = 0 and P = ε(1 − β₁^t): the optimizer would take a very long step
there.  That is its true metric, and it is kept; where the curvature of such a parameter is zero (a pixel that is
always 0, a dead unit) it stays zero.

References
----------
Cohen, Ghorbani, Krishnan, Agarwal, Medapati, Badura, Suo, Cardoze, Nado, Dahl, Gilmer (2022), Adaptive gradient
methods at the edge of stability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

DEFINITION = (
    "P^-1/2 C P^-1/2 with P = diag((sqrt(v/(1-beta2^t)) + epsilon)·(1-beta1^t)) from Adam's state after t steps"
)


@dataclass(frozen=True)
class AdamState:
    """Adam's state of one parameter.

    Attributes
    ----------
    second_moment : Tensor
        v, in the parameter's shape: `exp_avg_sq`, or `max_exp_avg_sq` with amsgrad.
    step : float
        t, at least 1.
    beta1, beta2, epsilon : float
        Settings.
    """

    second_moment: Tensor
    step: float
    beta1: float
    beta2: float
    epsilon: float

    def diagonal(self) -> Tensor:
        """Return P, in float64."""
        moment = self.second_moment.to(torch.float64) / (1.0 - self.beta2**self.step)
        diagonal: Tensor = (moment.sqrt() + self.epsilon) * (1.0 - self.beta1**self.step)
        return diagonal


def untouched(states: Mapping[str, AdamState]) -> int:
    """Return how many parameters no gradient has reached: v = 0."""
    return sum(int((state.second_moment == 0).sum()) for state in states.values())
