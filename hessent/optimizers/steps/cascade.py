"""The step that EMC takes next: `hessent.optimizers.emc`, from its own averages or from those that are rebuilt.

For other gradients the averages from before the step are held, and the entropy is that of the other gradient.
"""

from __future__ import annotations

from torch import Tensor

from hessent.measures.step_analysis import REBUILT, STATE
from hessent.optimizers.emc import DEFAULT_LEVELS, DEFAULT_RATE, cascade_update, follow, memory_name, spread
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.situation import Situation, StepMaker
from hessent.optimizers.steps.stored_tensors import holders, read_elementwise


class Cascade(StepMaker):
    """The entropic momentum cascade."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        stored = _stored_levels(situation)
        self.needs_warmup = stored == 0
        levels = stored or _trained_levels(situation)
        self._memories: dict[str, list[Tensor]] = {name: [] for name in situation.weights}
        for level in range(1, levels + 1):
            held = read_elementwise(situation, memory_name(level)) if stored else situation.zeros()
            for name, memory in held.items():
                self._memories[name].append(memory)

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into all averages."""
        for name, memories in self._memories.items():
            follow(memories, gradient[name])

    def _direction(self, gradient: ByParameter) -> dict[str, Tensor]:
        found, directions = spread(gradient.values()), {}
        for name, memories in self._memories.items():
            after = [memory.clone() for memory in memories]
            follow(after, gradient[name])
            directions[name] = -cascade_update(after, found)
        return directions

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        found, levels = spread(gradient.values()), len(next(iter(self._memories.values())))
        told = self.rebuilt if self.needs_warmup else f"averages in {self.situation.told_state}"
        return ExplicitStep(
            optimizer="emc",
            source=REBUILT if self.needs_warmup else STATE,
            told=f"{told}; {levels} levels, gradient entropy {found:.3g} of its largest",
            direction=self._direction(gradient),
            apply=self._direction,
            customary_rate=DEFAULT_RATE,
        )


def _stored_levels(situation: Situation) -> int:
    """How many averages the state holds, from the first on."""
    levels = 0
    while holders(situation, [memory_name(levels + 1)]):
        levels += 1
    return levels


def _trained_levels(situation: Situation) -> int:
    told = situation.trained.get("levels") if situation.trained.get("name") == "emc" else None
    return told if isinstance(told, int) and told > 0 else DEFAULT_LEVELS
