"""Steps of one length in every coordinate: sign gradient descent, and Lion.

    sign-gd    d = −η sign(g)
    lion       d = −η (sign(β₁ m + (1 − β₁) g) + w θ),    m ← β₂ m + (1 − β₂) g afterwards

Lion's m is that of its own state; else the average of gradients in another optimizer's (`lion_memory`); else it is
rebuilt from m = 0.  The decay w of the weights is Lion's own, where it is what trained.
"""

from __future__ import annotations

from torch import Tensor

from hessent.measures.step_analysis import CLOSED_FORM, REBUILT, STATE
from hessent.optimizers.lion import MEMORY
from hessent.optimizers.lion_memory import memory_of
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.situation import Situation, StepMaker
from hessent.optimizers.steps.stored_tensors import (
    betas_of,
    holders,
    number_of,
    read_elementwise,
    settings_of,
)

_BUFFER = "momentum_buffer"
_CUSTOMARY_RATE = 1e-4  # Lion's
_CUSTOMARY_BETAS = (0.9, 0.99)
_LIONS = ("lion", "lion-tanh")


class SignDescent(StepMaker):
    """Sign gradient descent."""

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        return ExplicitStep(
            optimizer="sign-gd",
            source=CLOSED_FORM,
            told="the sign of the gradient",
            direction=_signs(gradient),
            apply=_signs,
            customary_rate=_CUSTOMARY_RATE,
        )


def _signs(gradient: ByParameter) -> dict[str, Tensor]:
    return {name: -value.sign() for name, value in gradient.items()}


class LionStep(StepMaker):
    """Lion."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._own = _is_lions(situation)
        read_elementwise(situation, MEMORY)  # what cannot be a memory is refused by its name
        read_elementwise(situation, _BUFFER)
        held, self._kind = memory_of(situation.states)
        self.needs_warmup = not held
        self._memory = situation.zeros()
        self._memory |= {name: held[name].to(value.device) for name, value in self._memory.items() if name in held}
        settings = {name: self._settings(name) for name in situation.weights}
        self._betas = {name: betas_of(own, _CUSTOMARY_BETAS) for name, own in settings.items()}
        self._decay = {name: number_of(own, "weight_decay", 0.0) for name, own in settings.items()}

    def _settings(self, name: str) -> dict[str, object]:
        return dict(settings_of(self.situation, name, own=self._own, optimizers=_LIONS))

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into m."""
        for name, value in gradient.items():
            beta2 = self._betas[name][1]
            self._memory[name] = beta2 * self._memory[name] + (1 - beta2) * value

    def _direction(self, gradient: ByParameter) -> dict[str, Tensor]:
        weights, found = self.situation.weights, {}
        for name, value in gradient.items():
            beta1 = self._betas[name][0]
            mixed = beta1 * self._memory[name] + (1 - beta1) * value
            found[name] = -(mixed.sign() + self._decay[name] * weights[name])
        return found

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        direction = self._direction(gradient)
        return ExplicitStep(
            optimizer="lion",
            source=REBUILT if self.needs_warmup else STATE,
            told=self._told(),
            direction=direction,
            apply=self._direction,
            customary_rate=_CUSTOMARY_RATE,
        )

    def _told(self) -> str:
        if self.needs_warmup:
            told = self.rebuilt
        else:
            told = f"m = {self._kind} in {self.situation.told_state}"
            told += " × (1 − momentum)" if self._kind == _BUFFER else ""
        betas = sorted(set(self._betas.values()))
        told += f"; betas {betas[0][0]:g}, {betas[0][1]:g}" if len(betas) == 1 else "; betas by parameter"
        decay = max(self._decay.values())
        told += f", weight decay {decay:g} beside the gradient" if decay else ""
        return told + (", with the sign for tanh" if self.situation.trained.get("name") == _LIONS[1] else "")


def _is_lions(situation: Situation) -> bool:
    """Whether the state is Lion's own: an average of gradients and nothing else."""
    held = holders(situation, [MEMORY])
    return bool(held) and all(set(situation.states[name].tensors) == {MEMORY} for name in held)
