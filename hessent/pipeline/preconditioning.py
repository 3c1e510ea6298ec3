"""`--precondition`: from its name, or a file, to the metric in which a curvature is seen."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor

from hessent.checkpoint.adam_files import StoredState, read_states
from hessent.checkpoint.listing import capped, printable, shown
from hessent.checkpoint.promotion import promote
from hessent.checkpoint.reader import SAFETENSORS_SUFFIX
from hessent.checkpoint.safetensors_files import SafetensorsFile
from hessent.curvature.adam_metric import DEFINITION, AdamState, untouched
from hessent.curvature.metric import Metric
from hessent.errors import CheckpointError, UsageError
from hessent.pipeline.request import ADAM, PLAIN, SpectrumRequest
from hessent.pipeline.weights import Weights

_ADAMS = ("adam", "adamw")
_OPTION = "--precondition"


def choose_metric(request: SpectrumRequest, weights: Weights) -> tuple[Metric | None, tuple[str, ...]]:
    """Return the metric that is asked for, and what is to be known of it.

    Parameters
    ----------
    request : SpectrumRequest
        Says by what to precondition.
    weights : Weights
        The model with the checkpoint's tensors in it.

    Returns
    -------
    tuple of (Metric or None, tuple of str)
        None for Euclid's; sentences.

    Raises
    ------
    InputError
        If there is no state of Adam with the checkpoint, it or the file cannot be read, or does not fit the model.
    """
    if request.precondition == PLAIN:
        return None, ()
    parameters = {name: value for name, value in weights.built.model.named_parameters() if value.requires_grad}
    if request.precondition == ADAM:
        return _of_adam(weights, parameters)
    return _of_file(request, weights, parameters), ()


def _of_adam(weights: Weights, parameters: Mapping[str, Tensor]) -> tuple[Metric, tuple[str, ...]]:
    checkpoint = weights.checkpoint
    named = checkpoint.metadata.optimizer.get("name")
    if named is not None and named not in _ADAMS:
        raise CheckpointError(
            f"it was trained with {shown(str(named))}, which has no second moments",
            where=f"{checkpoint.path}: {_OPTION} {ADAM}",
            expected="the state of Adam or AdamW",
            fix="no --precondition: what steps of sgd can bear is told by the Hessian itself",
        )
    file, stored = read_states(checkpoint, weights.built.model, weights.sources)
    states, problems = {}, []
    for name in parameters:
        found = stored.get(name)
        state = None if found is None else _adam_state(found)
        problem = _problem(state, found, parameters[name])
        if problem is not None:
            problems.append(f"{shown(name)}: {problem}")
        elif state is not None:
            states[name] = state
    if problems:
        raise CheckpointError(
            "this is not the state of Adam for these weights",
            where=file,
            problems=capped(problems),
            expected="exp_avg_sq and step of every parameter, betas and eps",
            fix="the optimizer's state that was saved with this checkpoint",
        )
    metric = Metric.of_diagonal(ADAM, DEFINITION, {name: s.diagonal() for name, s in states.items()}, file)
    return metric, _notes(file, states, stored)


def _adam_state(stored: StoredState) -> AdamState | None:
    """Adam's state in what was stored, None where something is missing."""
    tensors, settings = stored.tensors, stored.settings
    moment = tensors.get("max_exp_avg_sq", tensors.get("exp_avg_sq"))
    step, betas, epsilon = tensors.get("step"), settings.get("betas"), settings.get("eps")
    if moment is None or step is None or step.numel() != 1:
        return None
    if not (isinstance(betas, list | tuple) and len(betas) == 2):
        return None
    if not all(isinstance(number, float | int) for number in (*betas, epsilon)):
        return None
    return AdamState(moment, float(step), float(betas[0]), float(betas[1]), float(epsilon))  # type: ignore[arg-type]


def _problem(state: AdamState | None, stored: StoredState | None, parameter: Tensor) -> str | None:
    if stored is None:
        return "there is no state for it"
    if state is None:
        has = ", ".join(sorted(stored.tensors)) or "nothing"
        told = ", ".join(key for key in ("betas", "eps") if key in stored.settings) or "neither betas nor eps"
        return f"its state holds {has}, its settings {told}"
    if state.second_moment.shape != parameter.shape:
        return f"its state is {tuple(state.second_moment.shape)}, the parameter is {tuple(parameter.shape)}"
    if not (0 <= state.beta1 < 1 and 0 <= state.beta2 < 1 and 0 <= state.epsilon < float("inf")):
        return f"betas {state.beta1:g}, {state.beta2:g} and eps {state.epsilon:g} are none of Adam's"
    if not 1 <= state.step < float("inf"):
        return f"its state is of step {state.step:g}"
    if not bool((state.second_moment >= 0).all()):
        return "its second moment holds numbers below 0"
    return None


def _notes(file: str, states: Mapping[str, AdamState], stored: Mapping[str, StoredState]) -> tuple[str, ...]:
    steps = sorted({state.step for state in states.values()})
    after = f"{steps[0]:,.0f}" if len(steps) == 1 else f"{steps[0]:,.0f} to {steps[-1]:,.0f}"
    notes = [f"preconditioned by Adam's state in {printable(file)}, after {after} steps"]
    total = sum(state.second_moment.numel() for state in states.values())
    count = untouched(states)
    if count:
        notes.append(
            f"no gradient has reached {count:,} of {total:,} parameters (v = 0): P there is Adam's epsilon alone"
        )
    if any(stored[name].settings.get("weight_decay") for name in states):
        notes.append("weight decay is no part of the preconditioned matrix")
    return tuple(notes)


def _of_file(request: SpectrumRequest, weights: Weights, parameters: Mapping[str, Tensor]) -> Metric:
    path = request.precondition
    if not path.endswith(SAFETENSORS_SUFFIX):
        raise UsageError(
            f"'{path}' is neither none nor adam nor a file",
            where=_OPTION,
            expected=f"none, {ADAM}, or FILE{SAFETENSORS_SUFFIX} with the diagonal of P, named as the parameters",
        )
    held = promote(SafetensorsFile.open(path).read(), torch.float64, path).tensors
    # Under the model's name of a parameter, or under the checkpoint's.
    keys = {name: name if name in held else weights.sources.get(name, name) for name in parameters}
    problems = [f"missing: {shown(name)}" for name, key in keys.items() if key not in held]
    problems += [f"unexpected: {shown(key)}" for key in held if key not in keys.values()]
    problems += [
        f"{shown(key)} is {tuple(held[key].shape)}, the parameter is {tuple(parameters[name].shape)}"
        for name, key in keys.items()
        if key in held and held[key].shape != parameters[name].shape
    ]
    if problems:
        raise UsageError(
            "does not fit the model's parameters",
            where=f"{_OPTION} {path}",
            problems=capped(problems),
            expected="one positive number for every entry of every parameter",
        )
    diagonal = {name: held[key] for name, key in keys.items()}
    definition = f"P^-1/2 C P^-1/2 with the diagonal P from {printable(os.path.basename(path))}"
    return Metric.of_diagonal(request.metric, definition, diagonal, path)
