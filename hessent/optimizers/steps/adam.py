"""The step that torch's Adam or AdamW takes next.

    m ← β₁ m + (1 − β₁) g,    v ← β₂ v + (1 − β₂) g²,    d = −η (m / (1 − β₁^t)) / (√(v / (1 − β₂^t)) + ε)

with t counting the step itself.  So d = −η P⁻¹ m with P = (√(v / (1 − β₂^t)) + ε)(1 − β₁^t), the metric of
`hessent.curvature.adam_metric` after the step; with `amsgrad`, v in it is the largest so far.  Weight decay w is
w θ in the gradient for Adam, and −η w θ beside the step for AdamW; older torch does not write which it was, and a
decay other than 0 is then taken for AdamW's, as in Hugging Face's Trainer, unless the checkpoint names Adam.

For other gradients P and the m before the step are held, so that the step is affine in the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

_MEAN, _SQUARE, _LARGEST = "exp_avg", "exp_avg_sq", "max_exp_avg_sq"
_CUSTOMARY_RATE = 1e-3
_CUSTOMARY_BETAS, _CUSTOMARY_EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class _Rule:
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    decoupled: bool


class Adam(StepMaker):
    """Adam, or AdamW where that is what trained."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._own = bool(holders(situation, [_MEAN, _SQUARE, "step"]))
        self.needs_warmup = not self._own
        self._largest: dict[str, Tensor] | None = None
        if self._own:
            self._mean = read_elementwise(situation, _MEAN)
            self._square = read_elementwise(situation, _SQUARE, least=0.0)
            self._steps = read_steps(situation)
            if holders(situation, [_LARGEST]):
                self._largest = read_elementwise(situation, _LARGEST, least=0.0)
        else:
            self._mean, self._square = situation.zeros(), situation.zeros()
            self._steps = dict.fromkeys(situation.weights, 0.0)
        self._rules = {name: self._rule(name) for name in situation.weights}

    def _rule(self, name: str) -> _Rule:
        settings = settings_of(self.situation, name, own=self._own, optimizers=["adam", "adamw"])
        return _Rule(
            *betas_of(settings, _CUSTOMARY_BETAS),
            epsilon=number_of(settings, "eps", _CUSTOMARY_EPSILON),
            weight_decay=number_of(settings, "weight_decay", 0.0),
            decoupled=_is_decoupled(settings, self.situation.trained),
        )

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into m and v."""
        self._mean, self._square = self._means(gradient), self._squares(gradient)
        self._steps = {name: steps + 1 for name, steps in self._steps.items()}

    def _decayed(self, name: str, gradient: Tensor) -> Tensor:
        rule = self._rules[name]
        return gradient if rule.decoupled else gradient + rule.weight_decay * self.situation.weights[name]

    def _means(self, gradient: ByParameter) -> dict[str, Tensor]:
        return {
            name: rule.beta1 * self._mean[name] + (1 - rule.beta1) * self._decayed(name, gradient[name])
            for name, rule in self._rules.items()
        }

    def _squares(self, gradient: ByParameter) -> dict[str, Tensor]:
        return {
            name: rule.beta2 * self._square[name] + (1 - rule.beta2) * self._decayed(name, gradient[name]).square()
            for name, rule in self._rules.items()
        }

    def _metric(self, gradient: ByParameter) -> dict[str, Tensor]:
        metric = {}
        for name, square in self._squares(gradient).items():
            rule, t = self._rules[name], self._steps[name] + 1
            if self._largest is not None:
                square = torch.maximum(square, self._largest[name])
            root = (square / (1 - rule.beta2**t)).sqrt()
            metric[name] = (root + rule.epsilon) * (1 - rule.beta1**t)
        return metric

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        metric, weights = self._metric(gradient), self.situation.weights
        beside = {
            name: rule.weight_decay * weights[name] if rule.decoupled else torch.zeros_like(weights[name])
            for name, rule in self._rules.items()
        }

        def direction(other: ByParameter) -> dict[str, Tensor]:
            return {name: -(step + beside[name]) for name, step in divided(self._means(other), metric).items()}

        betas = {rule.beta1 for rule in self._rules.values()}
        beta1 = max(betas)
        return ExplicitStep(
            optimizer="adam",
            source=STATE if self._own else REBUILT,
            told=self._told(),
            direction=direction(gradient),
            apply=direction,
            linear=True,
            metric=positive(metric),
            inverse_root=inverse_root(metric),
            momentum=beta1,
            gain=1 - beta1,
            stable_up_to=(2 + 2 * beta1) / (1 - beta1) if len(betas) == 1 else None,
            customary_rate=_CUSTOMARY_RATE,
        )

    def _told(self) -> str:
        rules, told = set(self._rules.values()), self.rebuilt
        if self._own:
            steps = sorted({steps for steps in self._steps.values() if steps})
            after = f"{steps[0]:,.0f}" if len(steps) == 1 else f"{steps[0]:,.0f} to {steps[-1]:,.0f}"
            told = f"state in {self.situation.told_state} after {after} step{'s' * (steps[-1] != 1)}"
            fresh = sum(not steps for steps in self._steps.values())
            told += f" ({fresh:,} parameter tensors begin anew)" if fresh else ""
        shared = {(rule.beta1, rule.beta2, rule.epsilon) for rule in rules}
        one = "betas {:g}, {:g}, epsilon {:g}".format(*next(iter(shared)))
        told += f"; {one}" if len(shared) == 1 else "; settings by parameter"
        told += ", amsgrad" if self._largest is not None else ""
        for decoupled, place in ((False, "in"), (True, "beside")):
            decays = {r.weight_decay for r in rules if r.decoupled == decoupled} - {0.0}
            told += f", weight decay {max(decays):g} {place} the gradient" if decays else ""
        return told


def _is_decoupled(settings: Mapping[str, Any], trained: Mapping[str, Any]) -> bool:
    told = settings.get("decoupled_weight_decay")
    return bool(told) if isinstance(told, bool) else trained.get("name") != "adam"
