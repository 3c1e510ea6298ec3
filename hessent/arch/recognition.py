"""Telling which built-in a checkpoint's tensors are, and building a network that they fit into."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hessent.arch.architecture import BuiltModel, Fit, Reading, Recipe, Shapes
from hessent.arch.built_in import BUILT_IN
from hessent.arch.fitting import closest_shapes, compare_tensors, construct, fit_recipe, meta_state, read_recipe
from hessent.errors import ArchitectureError

_OWN_CODE = "--arch package.module:factory or path/to/file.py:factory, for a network of your own"


def rank_fits(shapes: Shapes, given: Mapping[str, Any]) -> tuple[Fit, ...]:
    """Return how each built-in fits under these options, best first; see `hessent.arch.registry.fits`."""

    def rank(fit: Fit) -> tuple[bool, float, int, int, int]:
        decided = len(BUILT_IN[fit.name].fixed)
        # The most telling name first; where nothing could be read, the generic one.
        return (
            not fit.fits,
            -fit.closeness,
            fit.num_wrong,
            len(fit.problems),
            -decided if fit.options else decided,
        )

    return tuple(sorted((fit_recipe(recipe, name, shapes, given) for name, recipe in BUILT_IN.items()), key=rank))


def recognise(shapes: Shapes | None, given: Mapping[str, Any], where: str) -> str:
    """Return the name of the one family whose tensors these are, the most telling of its names.

    Raises
    ------
    ArchitectureError
        If there are no tensors, or they fit no family or several.
    """
    if shapes is None:
        raise ArchitectureError(
            "'auto' reads the architecture from a checkpoint, and there is none", where=where, fix="--arch NAME"
        )
    ranking = rank_fits(shapes, given)
    fitting = [fit for fit in ranking if fit.fits]
    if len({fit.family for fit in fitting}) == 1:
        return fitting[0].name
    best = {fit.family: fit for fit in reversed(fitting or ranking) if fit.closeness}  # of each family the first
    candidates = sorted(best.values(), key=ranking.index) or list(ranking[:1])
    raise ArchitectureError(
        "these tensors fit more than one family" if fitting else "these tensors fit no built-in architecture",
        where=where,
        problems=[f"{fit.name}: {'; '.join(fit.problems) or 'fits'}" for fit in candidates],
        fix="--arch NAME" if fitting else _OWN_CODE,
    )


def build_recipe(
    recipe: Recipe, name: str, shapes: Shapes | None, given: Mapping[str, Any], where: str
) -> BuiltModel:
    """Build a recipe's network, sized by the tensors (or by the options alone where there are none).

    Raises
    ------
    ArchitectureError
        If tensors, name and options disagree, or the network they describe cannot be built.
    """
    if shapes is not None:
        shapes = closest_shapes(recipe, shapes)
    reading = read_recipe(recipe, name, shapes, given)
    problems = reading.problems
    if shapes is not None and not problems and _is_oversized(recipe, name, reading, shapes):
        _, problems = compare_tensors(recipe, name, reading, shapes)
    if problems:
        raise ArchitectureError(
            f"these options do not make a {name}" if shapes is None else f"these tensors are not a {name}",
            where=where,
            problems=problems,
            fix=f"hessent archs {name}" if shapes is None else _remedy(name, shapes, given),
        )
    return BuiltModel(
        construct(recipe, name, reading.options, where=where),
        name,
        reading.options,
        reading.assumptions,
        reading.rename,
        recipe.default_loss,
        recipe.default_data,
    )


def _is_oversized(recipe: Recipe, name: str, reading: Reading, shapes: Shapes) -> bool:
    """Return whether the network would hold far more numbers than the checkpoint.

    A few crafted shapes can describe a network of petabytes; it must be refused before memory is asked for.  An
    honest mismatch is left to the matching of the checkpoint, which lists every tensor.
    """
    wanted = sum(tensor.numel() for tensor in meta_state(recipe, name, reading).values())
    return wanted > 2 * sum(math.prod(shape) for shape in shapes.values()) + 1_000_000


def _remedy(name: str, shapes: Shapes, given: Mapping[str, Any]) -> str:
    """Return what to type instead, given that `name` with these options does not fit."""
    ranking = rank_fits(shapes, {})
    fitting = [fit.name for fit in ranking if fit.fits]
    if name in fitting and given:
        return "leave out the architecture options that disagree, or correct them"
    if fitting:
        return f"--arch {fitting[0]}, which fits these tensors"
    near = ranking[0]
    if not near.closeness or near.family == BUILT_IN.get(name, near).family:
        return _OWN_CODE
    return f"--arch {near.name}, which comes nearest ({'; '.join(near.problems)}), or {_OWN_CODE}"
