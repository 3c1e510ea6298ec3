"""L-BFGS: secant pairs along mini-batch gradients, and the two-loop recursion.

A pair is a step s and the change y of the gradient along it.  Here s is a step against the gradient of a
mini-batch, one pair for each of the last ten, and y = H s exactly, by one product; pairs with s·y ≤ 0 say that
the curvature is negative there, and are left out, as every L-BFGS does.  From H_0 = (s·y / y·y) I of the newest
pair each pair, from the oldest on, makes

    H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ,    ρ = 1 / (s·y),    and d = −η H g

without ever forming H.  A long run's own pairs lie along its own steps, at other weights; what torch keeps of
them is not saved in a form that names parameters, so they are always rebuilt.

Reference: Liu, Nocedal (1989), On the limited memory BFGS method for large scale optimization.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from hessent.errors import UsageError
from hessent.measures.step_analysis import REBUILT
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.situation import Situation, StepMaker

MOST_PAIRS = 10
_LEAST_CURVATURE = 1e-10  # s·y over ‖s‖ ‖y‖: less is rounding


class LimitedMemory(StepMaker):
    """L-BFGS."""

    needs_warmup = True

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._steps: deque[Tensor] = deque(maxlen=MOST_PAIRS)

    def update(self, gradient: ByParameter) -> None:
        """Step against the gradient; how far does not matter to a pair."""
        flat = self.situation.flat(gradient)
        length = flat.norm()
        if length > 0:
            self._steps.append(flat / -length)

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step.

        Raises
        ------
        UsageError
            If no pair has positive curvature.
        """
        pairs = self._pairs()
        if not pairs:
            raise UsageError(f"no curvature above 0 along the {len(self._steps)} mini-batch gradients")

        def direction(other: ByParameter) -> dict[str, Tensor]:
            return self.situation.unflat(-two_loops(pairs, self.situation.flat(other)))

        left_out = len(self._steps) - len(pairs)
        told = f"{len(pairs)} secant pair{'s' * (len(pairs) != 1)} along mini-batch gradients, one product each"
        return ExplicitStep(
            optimizer="l-bfgs",
            source=REBUILT,
            told=told + (f"; {left_out} left out for negative curvature" if left_out else ""),
            direction=direction(gradient),
            apply=direction,
            linear=True,
            customary_rate=1.0,
        )

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        if not self._steps:
            return []
        changes = self.situation.products(torch.stack(tuple(self._steps), dim=1))
        pairs = zip(self._steps, changes.T, strict=True)
        return [(s, y) for s, y in pairs if float(s @ y) > _LEAST_CURVATURE * float(y.norm())]


def two_loops(pairs: list[tuple[Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """Return H g for pairs (s, y), the newest last; all vectors (n,)."""
    rest, shares = gradient.clone(), []
    for s, y in reversed(pairs):
        shares.append((s @ rest) / (s @ y))
        rest -= shares[-1] * y
    s, y = pairs[-1]
    result = rest * ((s @ y) / (y @ y))
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        result += (share - (y @ result) / (s @ y)) * s
    return result
