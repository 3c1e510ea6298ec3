"""The step that torch's Adagrad takes next.

    s ← s + g²,    d = −η / (1 + (t − 1) ℓ) · g / (√s + ε)

with t counting the step itself and ℓ the decay of the rate; weight decay w is w θ in the gradient.  So d = −η P⁻¹ g
with P = (√s + ε)(1 + (t − 1) ℓ), which is held for other gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hessent.measures.step_analysis import REBUILT, STATE
from hessent.optimizers.steps.diagonal_metric import divided, inverse_root, positive
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.situation import Situation, StepMaker
from hessent.optimizers.steps.stored_tensors import (
    holders,
    number_of,
    read_elementwise,
    read_steps,
    settings_of,
)

_SUM = "sum"
_CUSTOMARY_RATE, _CUSTOMARY_EPSILON = 0.01, 1e-10


@dataclass(frozen=True)
class _Rule:
    epsilon: float
    rate_decay: float
    weight_decay: float


class Adagrad(StepMaker):
    """Adagrad."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._own = bool(holders(situation, [_SUM, "step"]))
        self.needs_warmup = not self._own
        self._sums = read_elementwise(situation, _SUM, least=0.0) if self._own else situation.zeros()
        self._steps = read_steps(situation) if self._own else dict.fromkeys(situation.weights, 0.0)
        self._rules = {name: self._rule(name) for name in situation.weights}

    def _rule(self, name: str) -> _Rule:
        settings = settings_of(self.situation, name, own=self._own, optimizers=["adagrad"])
        return _Rule(
            number_of(settings, "eps", _CUSTOMARY_EPSILON),
            number_of(settings, "lr_decay", 0.0),
            number_of(settings, "weight_decay", 0.0),
        )

    def _decayed(self, gradient: ByParameter) -> dict[str, Tensor]:
        weights = self.situation.weights
        return {name: gradient[name] + rule.weight_decay * weights[name] for name, rule in self._rules.items()}

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into s."""
        self._sums = self._after(gradient)
        self._steps = {name: steps + 1 for name, steps in self._steps.items()}

    def _after(self, gradient: ByParameter) -> dict[str, Tensor]:
        return {name: self._sums[name] + value.square() for name, value in self._decayed(gradient).items()}

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        metric = {
            name: (total.sqrt() + rule.epsilon) * (1 + self._steps[name] * rule.rate_decay)
            for (name, total), rule in zip(self._after(gradient).items(), self._rules.values(), strict=True)
        }

        def direction(other: ByParameter) -> dict[str, Tensor]:
            return {name: -step for name, step in divided(self._decayed(other), metric).items()}

        return ExplicitStep(
            optimizer="adagrad",
            source=STATE if self._own else REBUILT,
            told=self._told(),
            direction=direction(gradient),
            apply=direction,
            linear=True,
            metric=positive(metric),
            inverse_root=inverse_root(metric),
            stable_up_to=2.0,
            customary_rate=_CUSTOMARY_RATE,
        )

    def _told(self) -> str:
        told = f"sums of squares in {self.situation.told_state}" if self._own else self.rebuilt
        rules = set(self._rules.values())
        if len(rules) > 1:
            return told + "; settings by parameter"
        (rule,) = rules
        told += f"; epsilon {rule.epsilon:g}"
        return told + (f", weight decay {rule.weight_decay:g} in the gradient" if rule.weight_decay else "")
