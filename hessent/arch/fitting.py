"""How well a recipe fits a checkpoint's tensors: read the shapes, then compare with the network built from them.

The network is built on torch's meta device, which has shapes and no numbers, so even a large one takes moments.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hessent.arch.architecture import Fit, Reading, Recipe, Shapes
from hessent.arch.settings import parse_options
from hessent.arch.shapes import MOST_BLOCKS, apply_rename, without_common_prefixes
from hessent.errors import ArchitectureError

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_TENSORS = 25 * MOST_BLOCKS  # no block of a built-in has more than 25
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


def closest_shapes(recipe: Recipe, shapes: Shapes) -> Shapes:
    """Return the shapes without as few shared words in front as give the recipe the most of its names."""
    candidates = without_common_prefixes(shapes)
    if len(candidates) == 1 or any(0 in shape for shape in shapes.values()):
        return shapes
    return max(candidates, key=lambda found: recipe.read(found, {}, recipe.fixed).closeness)  # the first of equals


def construct(recipe: Recipe, name: str, options: Mapping[str, Any], *, where: str | None = None) -> nn.Module:
    """Import the recipe's network and build it on the current default device.

    Raises
    ------
    ArchitectureError
        If torch cannot make layers of these sizes (too large for memory, groups that do not divide channels).
    """
    module, _, attribute = recipe.network.partition(":")
    network: Callable[..., nn.Module] = getattr(importlib.import_module(module), attribute)
    try:
        return network(**options)
    except (RuntimeError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArchitectureError(f"{name} cannot be built with these sizes: {reason}", where=where) from error


def fit_recipe(recipe: Recipe, name: str, shapes: Shapes, given: Mapping[str, Any]) -> Fit:
    """Return how a recipe fits; options it does not know count as problems."""
    if len(shapes) > _MOST_TENSORS:
        problem = f"{len(shapes)} tensors, more than any built-in has"
        return Fit(name, {}, False, (problem,), (), recipe.family, num_wrong=len(shapes))
    num_wrong = len(shapes)
    shapes = closest_shapes(recipe, shapes)
    try:
        reading = read_recipe(recipe, name, shapes, given)
        problems = reading.problems
        if not problems:
            num_wrong, problems = compare_tensors(recipe, name, reading, shapes)
    except ArchitectureError as error:
        reading = read_recipe(recipe, name, shapes, {})
        problems = error.problems or (error.found,)
    fits = num_wrong == 0 and not problems
    return Fit(
        name, reading.options, fits, problems, reading.assumptions, recipe.family, reading.closeness, num_wrong
    )


def compare_tensors(recipe: Recipe, name: str, reading: Reading, shapes: Shapes) -> tuple[int, tuple[str, ...]]:
    """Compare a checkpoint's tensors with those of the network read from them.

    Counters of batch norms may be absent, and one name of a tied weight is enough.

    Returns
    -------
    num_wrong : int
        Tensors missing, left over or of the wrong shape.
    problems : tuple of str
        One sentence for each of these kinds that occurs.

    Raises
    ------
    ArchitectureError
        If the network cannot be built.
    """
    state = meta_state(recipe, name, reading)
    shapes = apply_rename(shapes, reading.rename) if reading.rename else shapes
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
    lines = (("missing", missing), ("left over", extra), ("of the wrong shape", wrong))
    problems = tuple(f"{len(keys)} {what}: {_some(keys)}" for what, keys in lines if keys)
    return len(missing) + len(extra) + len(wrong), problems


def meta_state(recipe: Recipe, name: str, reading: Reading) -> dict[str, Tensor]:
    """Return the network's tensors by key, on the meta device; tied weights are one object under two keys.

    Raises
    ------
    ArchitectureError
        If the network cannot be built.
    """
    import torch

    with torch.device("meta"):
        state: dict[str, Tensor] = construct(recipe, name, reading.options).state_dict(keep_vars=True)
    return state


def _some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _form(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
