"""The step that Sophia takes next: an average of gradients over the diagonal of the Gauss-Newton matrix, clipped.

    m ← β₁ m + (1 − β₁) g,    d = −η m / P,    P = max(h, δ),    clipped: every coordinate of m / P to [−C, C]

with h the diagonal (`gauss_newton_diagonal`) over all samples at the checkpoint's weights, and δ the damping
times its largest entry.  Its authors' program divides by max(γ h, ε) and clips at 1: that is C = γ, with η/γ for
η.  m begins at 0 and is not corrected for it.  States of Sophia are not read: the scale of their h depends on how
it was called.

Reference: Liu, Li, Hall, Liang, Ma (2023), Sophia: a scalable stochastic second-order optimizer for language model
pre-training.
"""

from __future__ import annotations

from torch import Tensor

from hessent.measures.step_analysis import REBUILT
from hessent.optimizers.steps.diagonal_metric import divided, inverse_root, positive
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.gauss_newton_diagonal import gauss_newton_diagonal
from hessent.optimizers.steps.situation import Situation, StepMaker

_BETA1 = 0.965  # the authors'
_CUSTOMARY_RATE = 1e-4


class Sophia(StepMaker):
    """Sophia with the Gauss-Newton diagonal."""

    needs_warmup = True

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._mean = situation.zeros()

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into m."""
        self._mean = self._after(gradient)

    def _after(self, gradient: ByParameter) -> dict[str, Tensor]:
        return {name: _BETA1 * mean + (1 - _BETA1) * gradient[name] for name, mean in self._mean.items()}

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step.

        Raises
        ------
        UsageError
            If the loss tells no square root of its second derivative.
        DataError
            If no parameter has any influence on the outputs.
        """
        situation, clip = self.situation, self.situation.clip
        diagonal, how = gauss_newton_diagonal(situation.problem, situation.seed)
        least = situation.damping * max(float(part.max()) for part in diagonal.values() if part.numel())
        metric = {name: part.clamp_min(least) for name, part in diagonal.items()}

        def direction(other: ByParameter) -> dict[str, Tensor]:
            steps = divided(self._after(other), metric)
            return {name: -(step if clip is None else step.clamp(-clip, clip)) for name, step in steps.items()}

        plain = clip is None
        told = f"m {self.rebuilt}, beta {_BETA1:g}; h {how}, at least {least:.3g}"
        return ExplicitStep(
            optimizer="sophia",
            source=REBUILT,
            told=told if plain else f"{told}; every coordinate clipped at {clip:g}",
            direction=direction(gradient),
            apply=direction,
            linear=plain,
            metric=positive(metric) if plain else None,
            inverse_root=inverse_root(metric) if plain else None,
            momentum=_BETA1,
            gain=1 - _BETA1,
            stable_up_to=(2 + 2 * _BETA1) / (1 - _BETA1) if plain else None,
            customary_rate=_CUSTOMARY_RATE,
            clip=clip,
        )
