"""`hessent step` as one call: one step of every optimizer in the measured curvature of a checkpoint.

Everything that is a function of the Hessian comes from one Lanczos run started at the gradient, or from the formed
matrix up to 2,048 parameters; everything else from directions and a product each.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from hessent.checkpoint.adam_files import NoStateError, StoredState, read_states
from hessent.checkpoint.listing import printable
from hessent.eigensolver.gradient_space import GradientSpace, formed_space, krylov_space
from hessent.estimate import Estimate
from hessent.measures.step_analysis import OPTIMIZERS, StepAnalysis
from hessent.measures.step_noise import times
from hessent.optimizers.steps.all_steps import EXPLICIT, explicit_steps
from hessent.pipeline.bound.draws import EXACT_UP_TO
from hessent.pipeline.mini_batches import mini_batch_size
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.step.cautions import cautions_of
from hessent.pipeline.step.closed import CLOSED, ClosedRows
from hessent.pipeline.step.closed_noise import ClosedNoise
from hessent.pipeline.step.noise import MiniBatchNoise, SampleNoise
from hessent.pipeline.step.rates import training_rates
from hessent.pipeline.step.request import StepRequest
from hessent.pipeline.step.rows import NO_NOISE, AnalysedStep, Directions, ExplicitRows, by_direction
from hessent.pipeline.step.sharpness import STEPS as METRIC_STEPS
from hessent.pipeline.step.situation import StepSituation, StoppedError
from hessent.pipeline.step.traces import PROBES, SpectrumSums, noise_scale


def run_step(request: StepRequest, observer: Observer) -> StepAnalysis | None:
    """Analyse one step of every optimizer.

    Parameters
    ----------
    request : StepRequest
        What is asked.
    observer : Observer
        Told of progress; may stop the work.

    Returns
    -------
    StepAnalysis or None
        None where the observer stopped the work.

    Raises
    ------
    InputError
        If checkpoint, data and options do not fit together.
    ComputationError
        If the gradient is zero or not finite, or the operator fails its check.
    """
    with suppress(StoppedError):
        return _Work(request, observer).result()
    return None


class _Work:
    """The parts of an analysis, in the order in which they are computed."""

    def __init__(self, request: StepRequest, observer: Observer) -> None:
        self._request = request
        prepared = prepare(replace(request.model, batch_size=None))
        for note in prepared.notes:
            observer.noted(note)
        self._prepared = prepared
        trained = prepared.checkpoint.optimizer
        self._size = mini_batch_size(request.batch_size, trained, prepared.stream)
        self._states, self._told_state = _states(prepared)
        self._rates = training_rates(prepared.checkpoint)
        self._situation = StepSituation(prepared, observer)
        self._small = self._situation.problem.num_params <= EXACT_UP_TO

    def result(self) -> StepAnalysis:
        request, situation, prepared = self._request, self._situation, self._prepared
        situation.engine.choose([(situation.whole, self._planned())])
        check = situation.checked(refuse=request.model.verify)
        space = self._space()
        damping = request.damping * float(np.abs(space.values).max())
        values, vectors, components = space.converged(request.directions)
        shown = Directions(values, vectors, components)
        noise, of_closed, covariance = self._noise(space)
        sums = self._sums(space)
        scale = noise_scale(covariance, sums.trace)
        closed = ClosedRows(
            situation,
            space,
            shown,
            of_closed,
            sums.over,
            given=request.rates,
            trained=self._rates,
        )
        steps = [*self._closed(closed, damping), *self._explicit(shown, noise)]
        steps = self._measured(sorted(steps, key=lambda step: OPTIMIZERS.index(step.row.optimizer)))
        rows = tuple(step.row for step in steps)
        return StepAnalysis(
            checkpoint=prepared.checkpoint,
            data=prepared.data,
            loss=situation.problem.loss.name,
            loss_value=situation.loss_value,
            seed=prepared.seed,
            parameters=situation.problem.num_params,
            gradient_norm=situation.gradient_norm,
            lambda_max=space.quadrature.largest(),
            curvature_along_gradient=float(space.weights @ space.values) / situation.gradient_norm**2,
            damping=damping,
            negative_share=_negative_share(space),
            noise_scale=scale,
            noise_batches=request.noise_batches,
            batch_size=self._size,
            curvature=_told(space, request.steps),
            matvecs=situation.operator.num_matvecs,
            rows=rows,
            directions=by_direction(shown, situation.gradient_norm, steps) if request.directions else (),
            cautions=cautions_of(situation, space, check, steps, covariance),
        )

    def _planned(self) -> int:
        """Products that are expected, to choose an engine by."""
        names = len(self._request.names)
        first = self._situation.problem.num_params if self._small else self._request.steps + PROBES
        return first + names * (self._request.noise_batches + METRIC_STEPS // 2 + 1)

    def _space(self) -> GradientSpace:
        situation, gradient = self._situation, self._situation.flat(self._situation.gradient)
        if self._small:
            situation.started("the matrix, formed", situation.problem.num_params)
            return formed_space(situation.operator, gradient, advanced=situation.advanced)
        situation.started("Lanczos from the gradient", self._request.steps)
        return krylov_space(
            situation.operator,
            gradient,
            steps=self._request.steps,
            memory=self._prepared.vector_memory,
            advanced=situation.advanced,
        )

    def _noise(self, space: GradientSpace) -> tuple[MiniBatchNoise | None, ClosedNoise | None, Estimate]:
        """What mini-batches do to steps, and tr Σ; nothing where none are asked for."""
        if not self._request.noise_batches:
            return None, None, Estimate.unknown(NO_NOISE)
        self._situation.started("gradients of mini-batches and of samples")
        noise = MiniBatchNoise(self._situation, self._request.noise_batches, self._size)
        samples = SampleNoise(self._situation, keep=self._small)
        return noise, ClosedNoise(self._situation, space, noise, samples), samples.covariance

    def _sums(self, space: GradientSpace) -> SpectrumSums:
        if not space.quadrature.complete:
            self._situation.started("traces", PROBES)
        return SpectrumSums(self._situation, space, self._situation.operator)

    def _closed(self, rows: ClosedRows, damping: float) -> list[AnalysedStep]:
        request, situation = self._request, self._situation
        names = tuple(name for name in request.names if name in CLOSED)
        found = rows.analysed(names, damping=damping, clip=request.clip)
        if "ngd" in names:
            planned = situation.problem.num_params if self._small else request.steps
            situation.started("the Fisher matrix", planned)
            found.append(rows.natural(damping=request.damping, steps=request.steps))
        return found

    def _explicit(self, shown: Directions, noise: MiniBatchNoise | None) -> list[AnalysedStep]:
        request, situation = self._request, self._situation
        names = [name for name in request.names if name in EXPLICIT]
        if not names:
            return []
        situation.started("steps of optimizers with a state")
        steps = explicit_steps(
            situation.problem,
            situation.gradient,
            self._states,
            self._told_state,
            situation.mini_gradients(request.warmup, self._size, replacement=False),
            self._prepared.checkpoint.optimizer,
            situation.engine,
            seed=situation.seed,
            names=names,
            clip=request.clip,
            damping=request.damping,
            advanced=lambda name: situation.advanced(),
        )
        situation.started("curvature along the steps, limits and noise", self._planned_explicit(len(names)))
        rows = ExplicitRows(situation, shown, noise, given=request.rates, trained=self._rates)
        return rows.analysed(steps)

    def _planned_explicit(self, names: int) -> int:
        return names * (1 + self._request.noise_batches) + METRIC_STEPS * (names // 2)

    def _measured(self, steps: Sequence[AnalysedStep]) -> list[AnalysedStep]:
        self._situation.started("losses after the steps", len(steps) * (5 if self._request.measure else 1))
        return [step.measured(self._situation, more=self._request.measure) for step in steps]


def _states(prepared: Prepared) -> tuple[dict[str, StoredState], str]:
    """The optimizer's state by parameter, and where it is from; empty where there is none."""
    weights = prepared.weights
    try:
        path, states = read_states(weights.checkpoint, weights.built.model, weights.sources)
    except NoStateError:
        return {}, "no optimizer's state is with the checkpoint"
    return states, printable(path)


def _negative_share(space: GradientSpace) -> Estimate:
    found = space.sum_of(lambda values: (values < 0.0).astype(float))
    share = times(found, 1.0 / space.quadrature.norm_squared)
    if share.low is None or share.high is None or share.exact:
        return share
    return replace(share, low=max(share.low, 0.0), high=min(share.high, 1.0))


def _told(space: GradientSpace, asked: int) -> str:
    if space.quadrature.complete:
        return "exact: the Hessian was formed"
    products = f"{space.num_matvecs} Lanczos products from the gradient"
    if space.closed:
        return f"{products}, exact: the space closed"
    return products if space.num_matvecs >= asked else f"{products}: --memory takes no more of {asked}"
