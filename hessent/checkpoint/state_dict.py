"""Finding the weights in what a training program saved, and the step beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hessent.checkpoint.listing import shown, shown_list
from hessent.errors import CheckpointError

WEIGHT_KEYS = ("state_dict", "model", "model_state_dict")
STEP_KEYS = ("step", "global_step", "iter_num", "iteration")
MAX_WRAPPINGS = 3


@dataclass(frozen=True)
class FoundWeights:
    """The weights in a saved object.

    Attributes
    ----------
    tensors : mapping of str to torch.Tensor
        Plain tensors without gradient, as views of the file.
    step, epoch : int or None
        Counters that were saved beside them.  An epoch is not a step.
    notes : tuple of str
        Sentences: what else the file holds and was not read.
    """

    tensors: Mapping[str, torch.Tensor]
    step: int | None
    epoch: int | None
    notes: tuple[str, ...]


def find_weights(saved: Any, where: str) -> FoundWeights:
    """Unwrap `state_dict`, `model` or `model_state_dict` until the values are tensors.

    Parameters
    ----------
    saved : object
        What `torch.load` returned.
    where : str
        The file, for messages.

    Returns
    -------
    FoundWeights
        With at least one tensor.

    Raises
    ------
    CheckpointError
        There are no weights, or several sets of them.
    """
    levels = list(_levels(saved, where))
    weights = levels[-1]
    tensors = {name: torch.Tensor.detach(value) for name, value in _items(weights) if _is_tensor(value)}
    if not tensors:
        raise CheckpointError(_nothing_found(weights), where=where, expected=_EXPECTED)
    unnamed = [name for name in tensors if type(name) is not str]
    if unnamed:
        raise CheckpointError(f"{len(unnamed)} tensors have numbers for names", where=where, expected=_EXPECTED)
    beside = [str(key) for level in levels[:-1] for key, _ in _items(level) if key not in WEIGHT_KEYS]
    inside = [str(key) for key, value in _items(weights) if not _is_tensor(value)]
    notes = []
    if beside:
        notes.append(f"not read beside the weights: {shown_list(beside)}")
    if inside:
        notes.append(f"left out, because they are not tensors: {shown_list(inside)}")
    return FoundWeights(tensors, _counter(levels, STEP_KEYS), _counter(levels, ("epoch",)), tuple(notes))


_EXPECTED = "names to tensors, at the top or under " + ", ".join(f"'{key}'" for key in WEIGHT_KEYS)


def _levels(saved: Any, where: str) -> Iterator[dict[Any, Any]]:
    for _ in range(MAX_WRAPPINGS + 1):
        if not isinstance(saved, dict):
            raise CheckpointError(f"the file holds a {type(saved).__name__}", where=where, expected=_EXPECTED)
        yield saved
        inner = [key for key, value in _items(saved) if key in WEIGHT_KEYS and isinstance(value, dict)]
        if not inner:
            return
        if len(inner) > 1:
            raise CheckpointError(
                f"the file holds several sets of weights: {shown_list(inner)}",
                where=where,
                fix=f"keep one: torch.save(torch.load(FILE, weights_only=True)[{inner[0]!r}], 'model.pt')",
            )
        saved = dict.__getitem__(saved, inner[0])
    raise CheckpointError(
        f"the weights lie more than {MAX_WRAPPINGS} wrappings deep", where=where, expected=_EXPECTED
    )


def _items(mapping: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    # dict.items, not mapping.items: a pickle may put an attribute of that name on an OrderedDict.
    return iter(dict.items(mapping))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _nothing_found(weights: dict[Any, Any]) -> str:
    keys = [str(key) for key, _ in _items(weights)]
    if {"state", "param_groups"} <= set(keys):
        return "this is the state of an optimizer, not the weights of a model"
    if not keys:
        return "the file holds an empty dictionary"
    return (
        f"there are no tensors in it; it holds {shown_list(keys)}"
        if len(keys) > 1
        else (f"there are no tensors in it; it holds only {shown(keys[0])}")
    )


def _counter(levels: list[dict[Any, Any]], keys: tuple[str, ...]) -> int | None:
    for level in levels:
        for key in keys:
            value = dict.get(level, key)
            if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_floating_point():
                value = value.item()
            if type(value) is int and value >= 0:
                return value
    return None
