"""From directions to rows: what each step does in the quadratic model, and what the loss really does.

Along a direction u the step of rate η is d = η u, so that D(η) = η b − ½ η² c with b = −g·u and c = u·Hu: largest
at b/c, where it is b²/2c, if both are positive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.estimate import Estimate
from hessent.measures.step_analysis import MeasuredStep, StepDirection, StepRow
from hessent.measures.step_noise import times
from hessent.optimizers.steps.explicit_step import ExplicitStep
from hessent.pipeline.step.noise import MiniBatchNoise
from hessent.pipeline.step.rates import choose_rate
from hessent.pipeline.step.sharpness import limit_of, metric_sharpness
from hessent.pipeline.step.situation import StepSituation

Float64Array = NDArray[np.float64]
NO_NOISE = "mini-batches were not asked for (--noise-batches 0)"
UPHILL = "the step goes uphill at any size"
UNBOUNDED = "the curvature along the step is not positive: the model has no best size"
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, eq=False)
class Directions:
    """Eigendirections that are told one by one.

    Attributes
    ----------
    values : Float64Array
        λ, shape (k,).
    vectors : Tensor
        Orthonormal columns, shape (n, k), float64.
    components : Float64Array
        ĝ, shape (k,).
    """

    values: Float64Array
    vectors: Tensor
    components: Float64Array

    def decreases(self, step: Tensor) -> Float64Array:
        """Return D_i of a step d (n,)."""
        along = (self.vectors.T @ step).cpu().numpy()
        found: Float64Array = -(self.components * along + 0.5 * self.values * along**2)
        return found


@dataclass(frozen=True, eq=False)
class AnalysedStep:
    """A row, and what further numbers are made of.

    Attributes
    ----------
    row : StepRow
        As far as it is known.
    unit : Tensor or None
        d at the step size 1, shape (n,); None where it is not known as a vector.
    along : Float64Array
        D_i on the eigendirections at the row's step size, shape (k,).
    predicted : callable
        D by the step size.
    """

    row: StepRow
    unit: Tensor | None
    along: Float64Array
    predicted: Callable[[float], float]

    def measured(self, situation: StepSituation, *, more: bool) -> AnalysedStep:
        """Return the same with the loss evaluated after the step, and after those of other sizes."""
        if self.unit is None or self.row.learning_rate is None:
            return self
        found = []
        for factor in _FACTORS if more else (1.0,):
            rate = factor * self.row.learning_rate
            after = situation.loss_after(rate * self.unit)
            situation.advanced()
            if after is not None:
                found.append(MeasuredStep(rate, self.predicted(rate), situation.loss_value - after))
        return replace(self, row=replace(self.row, measured=tuple(found)))


class ExplicitRows:
    """Makes rows of explicit steps.

    Parameters
    ----------
    situation : StepSituation
        Where they are taken.
    shown : Directions
        Eigendirections told one by one.
    noise : MiniBatchNoise or None
        None where none was asked for.
    given, trained : mapping of str to float
        Rates from the command line, and of the training.
    """

    def __init__(
        self,
        situation: StepSituation,
        shown: Directions,
        noise: MiniBatchNoise | None,
        *,
        given: Mapping[str, float],
        trained: Mapping[str, float],
    ) -> None:
        self._situation, self._shown, self._noise = situation, shown, noise
        self._given, self._trained = given, trained
        self._gradient = situation.flat(situation.gradient)

    def analysed(self, steps: Sequence[ExplicitStep]) -> list[AnalysedStep]:
        """Return the steps analysed, in their order."""
        taken = [step for step in steps if step.direction is not None]
        units = [self._situation.flat(step.direction) for step in taken if step.direction is not None]
        found = {}
        if taken:
            products = self._situation.curved(torch.stack(units, dim=1)).T
            for step, unit, product in zip(taken, units, products, strict=True):
                found[step.optimizer] = self._analysed(step, unit, float(unit @ product))
        return [found.get(step.optimizer) or not_taken(step.optimizer, step.source, step.told) for step in steps]

    def _analysed(self, step: ExplicitStep, unit: Tensor, curvature: float) -> AnalysedStep:
        slope = -float(self._gradient @ unit)
        best, best_decrease = best_of(slope, curvature)
        rate, source = choose_rate(
            step.optimizer,
            given=self._given,
            trained=self._trained,
            best=best.value,
            customary=step.customary_rate,
        )

        def predicted(eta: float) -> float:
            return eta * slope - 0.5 * eta**2 * curvature

        row = StepRow(
            optimizer=step.optimizer,
            source=step.source,
            told=step.told,
            learning_rate=rate,
            learning_rate_from=source,
            decrease=Estimate.exactly(predicted(rate)),
            norm_h_squared=Estimate.exactly(rate**2 * curvature),
            best_learning_rate=best,
            best_decrease=best_decrease,
            stability_limit=self._limit(step),
            noise=self._noise_of(step, rate),
            clip=step.clip,
        )
        return AnalysedStep(row, unit, self._shown.decreases(rate * unit), predicted)

    def _limit(self, step: ExplicitStep) -> Estimate:
        if step.stable_up_to is None or step.inverse_root is None:
            return Estimate.unknown(NO_LIMIT if not step.linear else NO_METRIC)
        return limit_of(step.stable_up_to, metric_sharpness(self._situation, step.inverse_root))

    def _noise_of(self, step: ExplicitStep, rate: float) -> Estimate:
        return Estimate.unknown(NO_NOISE) if self._noise is None else times(self._noise.of_step(step), rate**2)


NO_LIMIT = "a step of fixed length never settles"
NO_METRIC = "no fixed metric stands behind the step"


def best_of(slope: float, curvature: float) -> tuple[Estimate, Estimate]:
    """Return b/c and b²/2c, where both are positive."""
    if slope <= 0.0:
        return Estimate.unknown(UPHILL), Estimate.unknown(UPHILL)
    if curvature <= 0.0:
        return Estimate.unknown(UNBOUNDED), Estimate.unknown(UNBOUNDED)
    return Estimate.exactly(slope / curvature), Estimate.exactly(slope**2 / (2.0 * curvature))


def not_taken(optimizer: str, source: str, why: str) -> AnalysedStep:
    """Return the row of an optimizer that cannot step here."""
    unknown = Estimate.unknown(f"{optimizer}: {why}")
    row = StepRow(
        optimizer=optimizer,
        source=source,
        told=why,
        learning_rate=None,
        learning_rate_from="default",
        decrease=unknown,
        norm_h_squared=unknown,
        best_learning_rate=unknown,
        best_decrease=unknown,
        stability_limit=unknown,
        noise=unknown,
    )
    return AnalysedStep(row, None, np.zeros(0), lambda rate: 0.0)


def by_direction(
    shown: Directions, gradient_norm: float, steps: Sequence[AnalysedStep]
) -> tuple[StepDirection, ...]:
    """Return what every step does along every eigendirection, and along the rest by subtraction."""
    shares = shown.components**2 / gradient_norm**2
    taken = [step for step in steps if step.row.decrease.value is not None]
    found = [
        StepDirection(
            float(value), float(shares[place]), {step.row.optimizer: float(step.along[place]) for step in taken}
        )
        for place, value in enumerate(shown.values)
    ]
    rest = {step.row.optimizer: (step.row.decrease.value or 0.0) - float(step.along.sum()) for step in taken}
    return (*found, StepDirection(None, max(1.0 - float(shares.sum()), 0.0), rest))
