"""The tensors and settings of an optimizer's state, checked against the parameters they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from hessent.checkpoint.listing import capped, shown
from hessent.errors import CheckpointError
from hessent.optimizers.steps.situation import Situation


def holders(situation: Situation, keys: Iterable[str]) -> tuple[str, ...]:
    """Return the parameters whose state has all of some tensors."""
    wanted, states = set(keys), situation.states
    return tuple(name for name in situation.weights if name in states and wanted <= set(states[name].tensors))


def read_elementwise(situation: Situation, key: str, *, least: float = -float("inf")) -> dict[str, Tensor]:
    """Return a tensor of every parameter's state, in float64; 0 where a parameter has none.

    Parameters
    ----------
    situation : Situation
        Holds the states.
    key : str
        The tensor's name.
    least : float
        Numbers below it are refused.

    Raises
    ------
    CheckpointError
        If one has another shape than its parameter, or holds what is not a number of this kind; all are named.
    """
    found, problems = {}, []
    for name, weight in situation.weights.items():
        state = situation.states.get(name)
        if state is None or key not in state.tensors:
            found[name] = torch.zeros_like(weight)
            continue
        tensor = state.tensors[key].to(weight.device, torch.float64)
        if tensor.shape != weight.shape:
            problems.append(f"{shown(f'{name}/{key}')} is {tuple(tensor.shape)}, its weight {tuple(weight.shape)}")
        elif not bool(tensor.isfinite().all()):
            problems.append(f"{shown(f'{name}/{key}')} holds numbers that are not finite")
        elif bool((tensor < least).any()):
            problems.append(f"{shown(f'{name}/{key}')} holds numbers below {least:g}")
        found[name] = tensor
    _refuse(situation, problems)
    return found


def read_steps(situation: Situation) -> dict[str, float]:
    """Return the number of steps behind every parameter's state; 0 where a parameter has none.

    Raises
    ------
    CheckpointError
        If one is no number of steps; all are named.
    """
    found, problems = {}, []
    for name in situation.weights:
        state = situation.states.get(name)
        step = None if state is None else state.tensors.get("step")
        number = 0.0 if step is None else float(step) if step.numel() == 1 else float("nan")
        if not 0 <= number < float("inf"):
            problems.append(f"{shown(f'{name}/step')} is no number of steps")
        found[name] = number
    _refuse(situation, problems)
    return found


def _refuse(situation: Situation, problems: list[str]) -> None:
    if problems:
        raise CheckpointError(
            "the optimizer's state does not fit the weights",
            where=situation.told_state,
            problems=capped(problems),
            fix="the state that was saved with this checkpoint, or none: it is then rebuilt from mini-batches",
        )


def number_of(settings: Mapping[str, Any], key: str, default: float) -> float:
    """Return a number among settings, the default where it is not told or is no finite number of at least 0."""
    value = settings.get(key)
    told = isinstance(value, int | float) and 0 <= float(value) < float("inf")
    return float(value) if told and value is not None else default


def betas_of(settings: Mapping[str, Any], default: tuple[float, float]) -> tuple[float, float]:
    """Return `betas` among settings; the default where they are not two numbers from 0 to below 1."""
    value = settings.get("betas")
    if not (isinstance(value, list | tuple) and len(value) == 2):
        return default
    betas = [float(beta) for beta in value if isinstance(beta, int | float) and 0 <= beta < 1]
    return (betas[0], betas[1]) if len(betas) == 2 else default


def settings_of(situation: Situation, name: str, *, own: bool, optimizers: Iterable[str]) -> Mapping[str, Any]:
    """Return the settings of a parameter's state where it is the optimizer's own, else those of the training.

    Parameters
    ----------
    situation : Situation
        Where.
    name : str
        The parameter.
    own : bool
        Whether the state was left by the optimizer that asks.
    optimizers : iterable of str
        Its names: settings of a training with another one are none of its.
    """
    states = situation.states if own else {}
    for state in (states.get(name), *states.values()):  # one without a state has the settings of the others
        if state is not None and state.settings:
            return state.settings
    if situation.trained.get("name") not in set(optimizers):
        return {}
    trained = dict(situation.trained)
    if "epsilon" in trained:
        trained.setdefault("eps", trained["epsilon"])
    return trained
