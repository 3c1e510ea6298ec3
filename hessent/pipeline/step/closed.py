"""Rows of the steps that are functions of the Hessian, and of natural gradient descent.

Their noise is that of `hessent.pipeline.step.closed_noise`; gradient descent's takes a product a mini-batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from hessent.eigensolver.gradient_space import GradientSpace, formed_space, krylov_space
from hessent.eigensolver.solved_direction import pair_eigenvalues, pair_reach, solved_direction
from hessent.errors import InputError
from hessent.estimate import Estimate
from hessent.measures.closed_steps import ClosedStep, closed_steps
from hessent.measures.eigenbasis_step import eigenbasis_step
from hessent.measures.natural_step import natural_step
from hessent.measures.step_analysis import CLOSED_FORM, StepRow
from hessent.measures.step_noise import Trace, times
from hessent.pipeline.step.closed_noise import ClosedNoise
from hessent.pipeline.step.rates import choose_rate
from hessent.pipeline.step.rows import NO_NOISE, AnalysedStep, Directions, not_taken
from hessent.pipeline.step.situation import StepSituation

CLOSED = ("newton", "ngd", "normalized-ngd", "gradient-norm-ngd", "eigenbasis-ngd", "gd", "normalized-gd")
_CUSTOMARY: Mapping[str, float] = {"gd": 0.1}
_LENGTH = 0.01  # customary for the others, where no length is best
_REACH_BY = 10  # eigenvectors of H, a product with F each, that bound the limit of natural gradient descent
_DESCENT = ("gd", "normalized-gd")


class ClosedRows:
    """Makes rows of closed-form steps.

    Parameters
    ----------
    situation : StepSituation
        Where they are taken.
    space : GradientSpace
        Functions of H.
    shown : Directions
        Eigendirections told one by one: the first converged pairs of `space`.
    noise : ClosedNoise or None
        None where none was asked for.
    trace : callable
        Sums over the spectrum of H.
    given, trained : mapping of str to float
        Rates from the command line, and of the training.
    """

    def __init__(
        self,
        situation: StepSituation,
        space: GradientSpace,
        shown: Directions,
        noise: ClosedNoise | None,
        trace: Trace,
        *,
        given: Mapping[str, float],
        trained: Mapping[str, float],
    ) -> None:
        self._situation, self._space, self._shown = situation, space, shown
        self._noise, self._trace = noise, trace
        self._given, self._trained = given, trained

    def analysed(self, names: tuple[str, ...], *, damping: float, clip: float | None) -> list[AnalysedStep]:
        """Return the steps of these names that are functions of H, with δ and C."""
        quadrature = self._space.quadrature
        steps = closed_steps(quadrature, damping=damping, clip=clip)
        steps["eigenbasis-ngd"] = eigenbasis_step(quadrature, damping=damping, clip=clip, trace=self._trace)
        found = []
        for name in names:
            if name in steps:
                step = steps[name]
                unit = self._space.combine(step.moves) if step.explicit else None
                found.append(self._row(step, unit, self._noise_of(step)))
        return found

    def natural(self, *, damping: float, steps: int) -> AnalysedStep:
        """Return natural gradient descent.

        Parameters
        ----------
        damping : float
            δ as a share of the largest eigenvalue of F.
        steps : int
            Of the Lanczos run, where F is not formed.
        """
        situation, whole = self._situation, self._space.quadrature.complete
        try:
            fisher = situation.fisher()
        except InputError as error:
            return not_taken("ngd", CLOSED_FORM, error.found)
        gradient = situation.flat(situation.gradient)
        if whole:
            space = formed_space(fisher, gradient, advanced=situation.advanced)
        else:
            memory = situation.prepared.vector_memory
            space = krylov_space(fisher, gradient, steps=steps, memory=memory, advanced=situation.advanced)
        own = damping * float(np.abs(space.values).max())
        solved = solved_direction(space, situation.operator, gradient, own)
        pair = pair_eigenvalues(space, self._space, own) if whole else None
        reach = None if whole else pair_reach(fisher, self._space, own, most=_REACH_BY)
        step = natural_step(self._space.quadrature, solved.along, pair=pair, reach=reach)
        noise = Estimate.unknown(NO_NOISE) if self._noise is None else self._noise.of_natural(space, own)
        told = f"{step.told}, δ {own:.3g}, F by {space.num_matvecs:,} products"
        return self._row(replace(step, told=told), solved.vector, noise)

    def _noise_of(self, step: ClosedStep) -> Estimate:
        """N_b at the step size 1."""
        if self._noise is None:
            return Estimate.unknown(NO_NOISE)
        if self._space.quadrature.complete or step.optimizer not in _DESCENT:
            return step.noise(1.0, self._noise.of_steps)
        length = float(np.linalg.norm(step.moves)) / self._situation.gradient_norm
        return times(self._noise.of_gradient, length**2)

    def _row(self, step: ClosedStep, unit: Tensor | None, noise: Estimate) -> AnalysedStep:
        best = step.best()
        rate, source = choose_rate(
            step.optimizer,
            given=self._given,
            trained=self._trained,
            best=best.value,
            customary=_CUSTOMARY.get(step.optimizer, _LENGTH),
        )
        row = StepRow(
            optimizer=step.optimizer,
            source=CLOSED_FORM,
            told=step.told,
            learning_rate=rate,
            learning_rate_from=source,
            decrease=step.decrease(rate),
            norm_h_squared=step.norm(rate),
            best_learning_rate=best,
            best_decrease=step.best_decrease(),
            stability_limit=step.stability_limit,
            noise=times(noise, rate**2),
            clip=step.clip,
        )
        if unit is None:
            along = step.decreases(rate)[self._space.quadrature.converged[: len(self._shown.values)]]
        else:
            along = self._shown.decreases(rate * unit)
        return AnalysedStep(row, unit, along, lambda size: step.decrease(size).value or 0.0)
