"""Adam's state as training programs leave it: by the names of parameters, or by torch's running numbers.

| written by | where | parameters |
|---|---|---|
| `hessent train` | `….optim.safetensors` beside the weights | by name; settings in the weights' metadata |
| Hugging Face's Trainer | `optimizer.pt` beside `model.safetensors` | by number |
| Lightning, own loops | `optimizer_states`, `optimizer`, `optimizer_state_dict` in the weights' file | by number |

Numbers follow the order in which a program listed its parameters.  In a file that holds the weights too, that is
the order of the weights; elsewhere that of the module.  Several groups of settings are those of decayed and of
other parameters: all but biases and norms first (Hugging Face), or all matrices first (nanoGPT).  An order counts
only if every shape agrees, and if no other order does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hessent.checkpoint.directory import TRAINER_FILES, file_in_directory
from hessent.checkpoint.listing import capped, shown, shown_list
from hessent.checkpoint.optimizer_names import optimizer_state_path
from hessent.checkpoint.optimizer_state import read_optimizer_state
from hessent.checkpoint.reader import TORCH_SUFFIXES, Checkpoint
from hessent.checkpoint.torch_files import read_saved
from hessent.errors import CheckpointError

TRAINER_FILE = "optimizer.pt"
INSIDE = ("optimizer_states", "optimizer", "optimizer_state_dict")


@dataclass(frozen=True)
class StoredState:
    """The state of an optimizer of one parameter.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        `exp_avg_sq`, `step`, …
    settings : mapping
        `betas`, `eps`, `weight_decay`, as far as they are told.
    """

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]


def read_states(
    checkpoint: Checkpoint, model: nn.Module, sources: Mapping[str, str]
) -> tuple[str, dict[str, StoredState]]:
    """Find the optimizer's state of a checkpoint and read it.

    Parameters
    ----------
    checkpoint : Checkpoint
        The opened weights.
    model : nn.Module
        The module they were loaded into.
    sources : mapping of str to str
        The module's names to those in the checkpoint.

    Returns
    -------
    tuple of (str, dict of str to StoredState)
        The file, and the state by the module's names of parameters; some may be missing.

    Raises
    ------
    CheckpointError
        There is none, it is damaged, or its parameters cannot be told.
    """
    named = read_optimizer_state(checkpoint, torch.float64)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if named is not None:
        settings = {
            "eps" if key == "epsilon" else key: value for key, value in checkpoint.metadata.optimizer.items()
        }
        found = {name: named.states.get(sources.get(name, name)) for name in parameters}
        return named.path, {name: StoredState(state, settings) for name, state in found.items() if state}
    file = file_in_directory(checkpoint.path) if os.path.isdir(checkpoint.path) else checkpoint.path
    beside = os.path.join(os.path.dirname(file), TRAINER_FILE)
    if os.path.basename(file) in TRAINER_FILES and os.path.lexists(beside):
        return beside, _by_number(read_saved(beside), model, list(parameters), parameters, beside)
    if file.endswith(TORCH_SUFFIXES):
        held = _inside(read_saved(file), file)
        if held is not None:
            module_name = {source: name for name, source in sources.items() if name in parameters}
            order = [module_name[name] for name in _order_in_file(file) if name in module_name]
            return file, _by_number(held, model, order, parameters, file)
    raise _nowhere(checkpoint, file)


def _inside(saved: Any, where: str) -> Any:
    """The optimizer's state in a file that holds the weights too; None where there is none."""
    held = next((saved[key] for key in INSIDE if isinstance(saved, dict) and key in saved), None)
    if isinstance(held, list):
        if len(held) > 1:
            raise CheckpointError(
                f"it holds the states of {len(held)} optimizers", where=where, expected="the state of one"
            )
        held = held[0] if held else None
    return held


def _order_in_file(file: str) -> list[str]:
    from hessent.checkpoint.state_dict import find_weights

    return list(find_weights(read_saved(file), file).tensors)


def _by_number(
    saved: Any, model: nn.Module, names: Sequence[str], parameters: Mapping[str, Tensor], where: str
) -> dict[str, StoredState]:
    """Give every numbered state the name of its parameter."""
    try:
        groups = [dict(group) for group in saved["param_groups"]]
        numbers = [[int(number) for number in group["params"]] for group in groups]
        states = {int(number): dict(state) for number, state in saved["state"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            "this is not the state of a torch optimizer", where=where, expected="'state' and 'param_groups'"
        ) from error
    if sum(map(len, numbers)) != len(names):
        raise CheckpointError(
            f"the optimizer has {sum(map(len, numbers))} parameters, the model has {len(names)}",
            where=where,
            expected="the state of an optimizer of all parameters of the model",
        )
    shapes = {number: _shape(state) for number, state in states.items()}
    flat = [number for group in numbers for number in group]
    fitting: list[list[str]] = []
    for order in _orders(model, names, [len(group) for group in numbers]):
        fits = all(
            shapes.get(n) in (None, tuple(parameters[name].shape)) for n, name in zip(flat, order, strict=True)
        )
        if fits and order not in fitting:
            fitting.append(order)
    if len(fitting) != 1:
        raise _no_order(fitting, names, parameters, [shapes.get(number) for number in flat], where)
    settings = [group for group, members in zip(groups, numbers, strict=True) for _ in members]
    return {
        name: StoredState(_tensors(states[number]), group)
        for name, number, group in zip(fitting[0], flat, settings, strict=True)
        if number in states
    }


def _orders(model: nn.Module, names: Sequence[str], sizes: Sequence[int]) -> Iterator[list[str]]:
    """Yield the orders in which programs list parameters, as far as they make groups of these sizes."""
    yield list(names)
    parameters = dict(model.named_parameters())
    norms = _owned_by(model, "norm")
    layer_norms = _owned_by(model, "layernorm")
    biases = {name for name in names if name.endswith("bias")}
    for others in (biases | norms, biases | layer_norms, biases, {n for n in names if parameters[n].ndim < 2}):
        first = [name for name in names if name not in others]
        if [size for size in (len(first), len(names) - len(first)) if size] == [size for size in sizes if size]:
            yield first + [name for name in names if name in others]


def _owned_by(model: nn.Module, word: str) -> set[str]:
    """Names of the parameters of all modules whose type has a word in its name."""
    modules = [(name, module) for name, module in model.named_modules() if word in type(module).__name__.lower()]
    return {f"{name}.{own}" for name, module in modules for own, _ in module.named_parameters(recurse=False)}


def _shape(state: Mapping[str, Any]) -> tuple[int, ...] | None:
    moment = state.get("exp_avg_sq")
    return tuple(moment.shape) if isinstance(moment, Tensor) else None


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Copies of a state's numbers, out of the file's memory map; floating ones in float64."""
    numbers = {
        key: torch.as_tensor(value) for key, value in state.items() if isinstance(value, Tensor | int | float)
    }
    return {key: value.to("cpu", torch.float64, copy=True) for key, value in numbers.items()}


def _no_order(
    fitting: Sequence[Sequence[str]],
    names: Sequence[str],
    parameters: Mapping[str, Tensor],
    shapes: Sequence[tuple[int, ...] | None],
    where: str,
) -> CheckpointError:
    fix = (
        "torch.optim.Adam(model.named_parameters()) and one group, or --precondition FILE with the diagonal itself"
    )
    if fitting:
        return CheckpointError("its parameters could be numbered in several orders", where=where, fix=fix)
    unequal = [
        f"number {position}: {shape}, {shown(name)} is {tuple(parameters[name].shape)}"
        for position, (name, shape) in enumerate(zip(names, shapes, strict=True))
        if shape not in (None, tuple(parameters[name].shape))
    ]
    return CheckpointError(
        "the shapes of its states fit the model's parameters in no order that is known",
        where=where,
        problems=capped(unequal),
        fix=fix,
    )


class NoStateError(CheckpointError):
    """There is no state of an optimizer with a checkpoint."""


def _nowhere(checkpoint: Checkpoint, file: str) -> CheckpointError:
    looked = [shown(optimizer_state_path(file)) + " (hessent train)"]
    if os.path.basename(file) in TRAINER_FILES:
        looked.append(shown(os.path.join(os.path.dirname(file), TRAINER_FILE)) + " (Hugging Face's Trainer)")
    if file.endswith(TORCH_SUFFIXES):
        looked.append(f"{shown_list(INSIDE)} in {shown(file)} (Lightning, own loops)")
    return NoStateError(
        "there is no state of an optimizer with it"
        + (": before its first step an optimizer has none" if checkpoint.metadata.step == 0 else ""),
        where=checkpoint.path,
        problems=[f"looked for {place}" for place in looked],
        fix="a checkpoint with its optimizer's state, or --precondition FILE.safetensors with the diagonal itself",
    )
