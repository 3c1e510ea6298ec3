"""The step that AdaHessian takes next: Adam with the Hessian's diagonal, drawn, in the place of the gradient.

    D = z ∘ (H z),  z random signs,    v ← β₂ v + (1 − β₂) D²,
    d = −η (m / (1 − β₁^t)) / ((√(v / (1 − β₂^t)))^k + ε)

with m Adam's average of gradients and k the Hessian's power, 1.  The mean of D is the diagonal of H, but that of
D² is H_ii² and the squares of the rest of the row: so the metric P = ((…)^k + ε)(1 − β₁^t) is one of rows.
Rebuilt, v / (1 − β₂^t) is the mean of D² over a few draws with the full Hessian; with a state, v is the state's
and takes one draw more.  D is not averaged over the kernel of a convolution, as the authors' program does.  Weight
decay stands beside the step.

Reference: Yao, Gholami, Shen, Mustafa, Keutzer, Mahoney (2021), AdaHessian.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hessent.measures.step_analysis import REBUILT, STATE
from hessent.optimizers.steps.diagonal_metric import divided, inverse_root, positive
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.situation import Situation, StepMaker
from hessent.optimizers.steps.stored_tensors import (
    betas_of,
    holders,
    number_of,
    read_elementwise,
    read_steps,
    settings_of,
)

DRAWS = 4
_MEAN, _SQUARE = "exp_avg", "exp_hessian_diag_sq"
_CUSTOMARY_RATE, _CUSTOMARY_BETAS, _CUSTOMARY_EPSILON = 0.15, (0.9, 0.999), 1e-4  # the authors'


class AdaHessian(StepMaker):
    """AdaHessian."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._own = bool(holders(situation, [_MEAN, _SQUARE, "step"]))
        self.needs_warmup = not self._own
        self._mean = read_elementwise(situation, _MEAN) if self._own else situation.zeros()
        self._square = read_elementwise(situation, _SQUARE, least=0.0) if self._own else situation.zeros()
        self._steps = read_steps(situation) if self._own else dict.fromkeys(situation.weights, 0.0)
        first = next(iter(situation.weights))
        settings = settings_of(situation, first, own=self._own, optimizers=["adahessian"])
        self._betas = betas_of(settings, _CUSTOMARY_BETAS)
        self._epsilon = number_of(settings, "eps", _CUSTOMARY_EPSILON)
        self._power = number_of(settings, "hessian_power", 1.0)
        self._decay = number_of(settings, "weight_decay", 0.0)

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into m."""
        self._mean = self._means(gradient)
        self._steps = {name: steps + 1 for name, steps in self._steps.items()}

    def _means(self, gradient: ByParameter) -> dict[str, Tensor]:
        beta1 = self._betas[0]
        return {name: beta1 * mean + (1 - beta1) * gradient[name] for name, mean in self._mean.items()}

    def _metric(self) -> dict[str, Tensor]:
        (beta1, beta2), metric = self._betas, {}
        for name, drawn in self._squares(1 if self._own else DRAWS).items():
            t = self._steps[name] + 1
            if self._own:
                drawn = (beta2 * self._square[name] + (1 - beta2) * drawn) / (1 - beta2**t)
            metric[name] = (drawn.sqrt().pow(self._power) + self._epsilon) * (1 - beta1**t)
        return metric

    def _squares(self, draws: int) -> dict[str, Tensor]:
        """The mean of D² over draws."""
        situation = self.situation
        generator = torch.Generator().manual_seed(situation.seed)
        shape = (situation.problem.num_params, draws)
        signs = torch.randint(0, 2, shape, generator=generator).to(situation.problem.device, torch.float64) * 2 - 1
        return situation.unflat((signs * situation.products(signs)).square().mean(dim=1))

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        metric, weights, beta1 = self._metric(), self.situation.weights, self._betas[0]

        def direction(other: ByParameter) -> dict[str, Tensor]:
            steps = divided(self._means(other), metric)
            return {name: -(step + self._decay * weights[name]) for name, step in steps.items()}

        return ExplicitStep(
            optimizer="adahessian",
            source=STATE if self._own else REBUILT,
            told=self._told(),
            direction=direction(gradient),
            apply=direction,
            linear=True,
            metric=positive(metric),
            inverse_root=inverse_root(metric),
            momentum=beta1,
            gain=1 - beta1,
            stable_up_to=(2 + 2 * beta1) / (1 - beta1),
            customary_rate=_CUSTOMARY_RATE,
        )

    def _told(self) -> str:
        if self._own:
            told = f"state in {self.situation.told_state} and one draw of the diagonal"
        else:
            told = f"m {self.rebuilt}, the diagonal from {DRAWS} products with random signs"
        told += f"; betas {self._betas[0]:g}, {self._betas[1]:g}, epsilon {self._epsilon:g}, no spatial averaging"
        return told + (f", weight decay {self._decay:g} beside the gradient" if self._decay else "")
