"""`explicit_steps`: the next step of every optimizer whose step is no function of the curvature alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from hessent.checkpoint.adam_files import StoredState
from hessent.curvature.engine import HessianEngine
from hessent.curvature.problem import Problem
from hessent.errors import DataError, UsageError, suggest
from hessent.measures.step_analysis import REBUILT
from hessent.optimizers.steps.adagrad import Adagrad
from hessent.optimizers.steps.adahessian import AdaHessian
from hessent.optimizers.steps.adam import Adam
from hessent.optimizers.steps.cascade import Cascade
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.k_fac import KroneckerFactors
from hessent.optimizers.steps.l_bfgs import LimitedMemory
from hessent.optimizers.steps.momentum import Momentum
from hessent.optimizers.steps.shampoo import Shampoo
from hessent.optimizers.steps.sign import LionStep, SignDescent
from hessent.optimizers.steps.situation import Situation, StepMaker
from hessent.optimizers.steps.sophia import Sophia

_MAKERS: Mapping[str, type[StepMaker]] = {
    "sign-gd": SignDescent,
    "momentum": Momentum,
    "l-bfgs": LimitedMemory,
    "k-fac": KroneckerFactors,
    "shampoo": Shampoo,
    "adam": Adam,
    "adagrad": Adagrad,
    "adahessian": AdaHessian,
    "sophia": Sophia,
    "lion": LionStep,
    "emc": Cascade,
}
EXPLICIT = tuple(_MAKERS)
DAMPING = 1e-3


def explicit_steps(
    problem: Problem,
    gradient: ByParameter,
    states: Mapping[str, StoredState] | None,
    told_state: str,
    mini_gradients: Iterable[ByParameter],
    trained: Mapping[str, Any],
    engine: HessianEngine,
    *,
    seed: int = 0,
    names: Sequence[str] = EXPLICIT,
    clip: float | None = None,
    damping: float = DAMPING,
    advanced: Callable[[str], None] = lambda name: None,
) -> list[ExplicitStep]:
    """Return the next step of optimizers at a checkpoint.

    Parameters
    ----------
    problem : Problem
        Model, loss and data; its loss measured.
    gradient : mapping of str to Tensor
        Of the mean loss, by parameter, float64; a parameter that is missing has none and counts as 0.
    states : mapping of str to StoredState, or None
        The optimizer's state of the checkpoint by parameter; None or empty where there is none.
    told_state : str
        Where that is from, as it is to stand in messages.
    mini_gradients : iterable of mappings
        Gradients of mini-batches at the checkpoint's weights, from which states that are not there are rebuilt;
        gone through at most once, and not at all where no step needs them.
    trained : mapping
        `optimizer` of the checkpoint's metadata.
    engine : HessianEngine
        Of the Hessian of `problem`.
    seed : int
        Of random vectors and signs.
    names : sequence of str
        Of `EXPLICIT`.
    clip : float, optional
        C of the steps that have a clipped variant: Sophia's.
    damping : float
        Least eigenvalue of the preconditioners of k-fac and sophia, as a share of the largest.
    advanced : callable
        Told the name of every step when it is done.

    Returns
    -------
    list of ExplicitStep
        In the order of `names`.  A step that the loss or the model does not allow has no direction, and tells why.

    Raises
    ------
    CheckpointError
        If a state does not fit the weights.
    UsageError
        If there is no such step.
    """
    unknown = [name for name in names if name not in _MAKERS]
    if unknown:
        raise UsageError(
            f"there is no step of '{unknown[0]}'", expected=", ".join(EXPLICIT), fix=suggest(unknown[0], EXPLICIT)
        )
    situation = Situation(
        problem=problem,
        engine=engine,
        states=states or {},
        told_state=told_state,
        trained=trained,
        seed=seed,
        clip=clip,
        damping=damping,
    )
    makers = {name: _MAKERS[name](situation) for name in names}
    _warm_up(situation, [maker for maker in makers.values() if maker.needs_warmup], mini_gradients)
    steps = []
    for name, maker in makers.items():
        steps.append(_step(name, maker, _complete(situation, gradient)))
        advanced(name)
    return steps


def _warm_up(situation: Situation, makers: Sequence[StepMaker], mini_gradients: Iterable[ByParameter]) -> None:
    if makers:
        for mini_gradient in mini_gradients:
            complete = _complete(situation, mini_gradient)
            for maker in makers:
                maker.see(complete)


def _complete(situation: Situation, gradient: ByParameter) -> ByParameter:
    """The gradient of every parameter, in float64 and in the parameters' order."""
    return {
        name: torch.zeros_like(weight) if gradient.get(name) is None else gradient[name].to(weight)
        for name, weight in situation.weights.items()
    }


def _step(name: str, maker: StepMaker, gradient: ByParameter) -> ExplicitStep:
    try:
        return maker.step(gradient)
    except (UsageError, DataError) as error:
        return ExplicitStep(name, REBUILT, error.found, None)
