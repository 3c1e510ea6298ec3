"""How well a recipe fits a checkpoint's tensors: read the shapes, then compare with the network built from them.

The network is built on torch's meta device, which has shapes and no numbers, so even a large one takes moments.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hessent.arch.architecture import Fit, Reading, Recipe, Shapes
from hessent.arch.settings import parse_options
from hessent.arch.shapes import apply_rename
from hessent.errors import ArchitectureError

if TYPE_CHECKING:
    from torch import nn

_SHOWN = 4  # tensors named in one line; matching a checkpoint lists them all, this is the short answer


def read_recipe(recipe: Recipe, name: str, shapes: Shapes | None, given: Mapping[str, Any]) -> Reading:
    """Parse the options and let the recipe read the shapes.

    Parameters
    ----------
    recipe : Recipe
    name : str
        The architecture's name, for messages.
    shapes : mapping of str to tuple of int, or None
        Tensors found, wrapper prefixes stripped; None to size the network by options alone.
    given : mapping
        Options as typed.

    Returns
    -------
    Reading

    Raises
    ------
    ArchitectureError
        If an option is unknown or unreadable.
    """
    options = parse_options(given, recipe.options, name=name)
    empty = [key for key, shape in (shapes or {}).items() if 0 in shape]
    if empty:
        return Reading({}, problems=(f"{len(empty)} tensor(s) without elements: {_some(empty)}",))
    return recipe.read(shapes, options, recipe.fixed)


def construct(recipe: Recipe, options: Mapping[str, Any]) -> nn.Module:
    """Import the recipe's network and build it on the current default device."""
    module, _, attribute = recipe.network.partition(":")
    network: Callable[..., nn.Module] = getattr(importlib.import_module(module), attribute)
    return network(**options)


def fit_recipe(recipe: Recipe, name: str, shapes: Shapes, given: Mapping[str, Any]) -> Fit:
    """Return how a recipe fits; options it does not know count as problems."""
    try:
        reading = read_recipe(recipe, name, shapes, given)
    except ArchitectureError as error:
        return Fit(name, {}, False, error.problems, family=recipe.family)
    problems = reading.problems
    if not problems:
        renamed = apply_rename(shapes, reading.rename) if reading.rename else shapes
        problems = compare_tensors(recipe, reading.options, renamed)
    return Fit(name, reading.options, not problems, problems, reading.assumptions, recipe.family, reading.closeness)


def compare_tensors(recipe: Recipe, options: Mapping[str, Any], shapes: Shapes) -> tuple[str, ...]:
    """Return one sentence each for tensors missing, left over and of the wrong shape; none when all agree.

    Counters of batch norms may be absent, and one name of a tied weight is enough.
    """
    import torch

    with torch.device("meta"):
        state = construct(recipe, options).state_dict(keep_vars=True)
    held = {id(tensor) for key, tensor in state.items() if key in shapes}
    missing = [
        key
        for key, tensor in state.items()
        if key not in shapes and id(tensor) not in held and not key.endswith("num_batches_tracked")
    ]
    extra = [key for key in shapes if key not in state]
    wrong = [
        f"{key} is {_form(shapes[key])} instead of {_form(tensor.shape)}"
        for key, tensor in state.items()
        if key in shapes and tuple(shapes[key]) != tuple(tensor.shape)
    ]
    lines = (("missing", missing), ("left over", extra), ("wrong shape", wrong))
    return tuple(f"{len(keys)} {what}: {_some(keys)}" for what, keys in lines if keys)


def _some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _form(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
