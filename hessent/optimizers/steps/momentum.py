"""The step that torch's SGD with momentum takes next.

    b ← μ b + (1 − τ)(g + w θ),    d = −η b,    with Nesterov's momentum d = −η (g + w θ + μ b)

with b = g + w θ on the first step: μ the momentum, τ the dampening, w the weight decay.  While the curvature is
held, steps along its eigenvalue λ are stable up to η λ = (2 + 2μ)/(1 − τ), with Nesterov's momentum up to
(2 + 2μ)/(1 + 2μ).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hessent.measures.step_analysis import REBUILT, STATE
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.situation import Situation, StepMaker
from hessent.optimizers.steps.stored_tensors import holders, number_of, read_elementwise, settings_of

_BUFFER = "momentum_buffer"
_CUSTOMARY_RATE, _CUSTOMARY_MOMENTUM = 0.1, 0.9


@dataclass(frozen=True)
class _Rule:
    momentum: float
    dampening: float
    nesterov: bool
    weight_decay: float

    @property
    def stable_up_to(self) -> float | None:
        if self.dampening >= 1 or (self.nesterov and self.dampening):
            return None
        share = 1 + 2 * self.momentum if self.nesterov else 1 - self.dampening
        return (2 + 2 * self.momentum) / share


class Momentum(StepMaker):
    """SGD with momentum."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._own = holders(situation, [_BUFFER])
        self.needs_warmup = not self._own
        self._buffers: dict[str, Tensor] = {}
        if self._own:
            held = read_elementwise(situation, _BUFFER)
            self._buffers = {name: held[name] for name in self._own}
        self._rules = {name: self._rule(name) for name in situation.weights}

    def _rule(self, name: str) -> _Rule:
        settings = settings_of(self.situation, name, own=bool(self._own), optimizers=["sgd"])
        momentum = number_of(settings, "momentum", _CUSTOMARY_MOMENTUM)
        return _Rule(
            momentum if 0 < momentum < 1 else _CUSTOMARY_MOMENTUM,
            number_of(settings, "dampening", 0.0),
            bool(settings.get("nesterov", False)),
            number_of(settings, "weight_decay", 0.0),
        )

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into b."""
        self._buffers = self._after(gradient)

    def _after(self, gradient: ByParameter) -> dict[str, Tensor]:
        after = {}
        for name, value in self._decayed(gradient).items():
            rule, buffer = self._rules[name], self._buffers.get(name)
            after[name] = value if buffer is None else rule.momentum * buffer + (1 - rule.dampening) * value
        return after

    def _decayed(self, gradient: ByParameter) -> dict[str, Tensor]:
        weights = self.situation.weights
        return {name: value + self._rules[name].weight_decay * weights[name] for name, value in gradient.items()}

    def _direction(self, gradient: ByParameter) -> dict[str, Tensor]:
        decayed, after = self._decayed(gradient), self._after(gradient)
        return {
            name: -(decayed[name] + rule.momentum * after[name] if rule.nesterov else after[name])
            for name, rule in self._rules.items()
        }

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        rules = set(self._rules.values())
        rule = next(iter(self._rules.values()))
        return ExplicitStep(
            optimizer="momentum",
            source=STATE if self._own else REBUILT,
            told=self._told(rules),
            direction=self._direction(gradient),
            apply=self._direction,
            linear=True,
            metric={name: value + 1.0 for name, value in self.situation.zeros().items()},
            inverse_root=dict,
            momentum=rule.momentum,
            gain=1 - rule.dampening,
            stable_up_to=rule.stable_up_to if len({one.stable_up_to for one in rules}) == 1 else None,
            customary_rate=_CUSTOMARY_RATE,
        )

    def _told(self, rules: set[_Rule]) -> str:
        told = f"momentum_buffer in {self.situation.told_state}" if self._own else self.rebuilt
        rule = next(iter(self._rules.values()))
        told += f"; momentum {rule.momentum:g}" if len(rules) == 1 else "; settings by parameter"
        told += ", Nesterov's" if rule.nesterov else ""
        decays = {one.weight_decay for one in rules} - {0.0}
        return told + (f", weight decay {max(decays):g} in the gradient" if decays else "")
