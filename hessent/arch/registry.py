"""From a name to a network: the built-in table, plug-ins, providers and factories behind one `build`.

``--arch`` takes a registry name (``resnet18``), ``auto`` (whatever built-in the tensors fit), a provider's name
(``timm:…``, ``hf:DIR``), or a factory (``package.module:factory``, ``path/to/file.py:factory``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hessent.arch.architecture import Architecture, BuiltModel, Fit, OptionSpec, Recipe, Shapes
from hessent.arch.built_in import BUILT_IN
from hessent.arch.factories import build_from_factory, call_factory
from hessent.arch.fitting import construct, fit_recipe, read_recipe
from hessent.arch.plugins import describe_plugin, find_plugins, load_plugin
from hessent.arch.providers import PROVIDERS, build_from_provider
from hessent.arch.shapes import strip_prefixes
from hessent.errors import ArchitectureError, suggest

__all__ = [
    "Architecture",
    "BuiltModel",
    "Fit",
    "OptionSpec",
    "architectures",
    "build",
    "data_options",
    "fits",
    "is_built_in",
    "nearest",
]


def build(
    name: str, *, tensors: Shapes | None = None, options: Mapping[str, Any] | None = None, where: str
) -> BuiltModel:
    """Build the network that a name stands for, sized by a checkpoint's tensors or by options alone.

    Parameters
    ----------
    name : str
        Registry name, ``auto``, ``provider:NAME``, ``package.module:factory`` or ``path/to/file.py:factory``.
    tensors : mapping of str to tuple of int, optional
        Shapes found in the checkpoint, by key, wrapper prefixes (``module.``) stripped or not.  None builds from
        options alone, for training.  Providers and factories size their networks by options only.
    options : mapping, optional
        Architecture options as typed, or as stored in a checkpoint's metadata.
    where : str
        The checkpoint (or command) concerned, for messages.

    Returns
    -------
    BuiltModel

    Raises
    ------
    ArchitectureError
        If the name is unknown, an option is wrong, the tensors do not fit, or a factory fails.
    """
    given = dict(options or {})
    shapes = None if tensors is None else strip_prefixes(tensors)
    if name == "auto":
        name = _recognise(shapes, given, where)
    if name in BUILT_IN:
        return _build_recipe(BUILT_IN[name], name, shapes, given, where)
    provider = name.partition(":")[0]
    if ":" in name:
        if provider in PROVIDERS:
            return build_from_provider(name, given)
        return build_from_factory(name, given)
    plugins = find_plugins()
    if name not in plugins:
        raise _unknown(name, [*BUILT_IN, *plugins])
    entry = load_plugin(name, plugins[name], taken=BUILT_IN)
    if isinstance(entry, Recipe):
        return _build_recipe(entry, name, shapes, given, where)
    return call_factory(entry, name, given)


def architectures() -> tuple[Architecture, ...]:
    """Return every registry entry, built-ins first; a plug-in that cannot be used says why in `problem`."""
    own = tuple(Architecture.of(name, recipe, "built-in") for name, recipe in BUILT_IN.items())
    foreign = (describe_plugin(name, found, taken=BUILT_IN) for name, found in find_plugins().items())
    return own + tuple(foreign)


def fits(tensors: Shapes) -> tuple[Fit, ...]:
    """Return how each built-in fits a checkpoint's tensors, best first.

    Parameters
    ----------
    tensors : mapping of str to tuple of int
        Shapes by key, wrapper prefixes stripped or not.

    Returns
    -------
    tuple of Fit
        Those that fit first, among them names that decide more before generic ones; then near misses, the
        family with most of the tensor names first.
    """
    return _ranked(strip_prefixes(tensors), {})


def is_built_in(name: str) -> bool:
    """Return whether a name is in the built-in table: the only names that a checkpoint's metadata may use."""
    return name in BUILT_IN


def nearest(tensors: Shapes) -> str | None:
    """Return a sentence about the built-in that comes nearest to these tensors; None where none is near."""
    best = fits(tensors)[0]
    if best.fits:
        return f"--arch {best.name}, which fits these tensors"
    if not best.closeness:
        return None
    return f"--arch {best.name} comes nearest ({'; '.join(best.problems)})"


def data_options(name: str, *, input_shape: tuple[int, ...], num_classes: int | None) -> dict[str, Any]:
    """Return options that make a fresh network fit a dataset; the user's own options go on top.

    Parameters
    ----------
    name : str
        A registry name; for every other name there is nothing to say and the answer is empty.
    input_shape : tuple of int
        Of one input: (channels, height, width), (features,) or (length,).
    num_classes : int or None
        Classes or vocabulary; None for regression.

    Returns
    -------
    dict
        Option name to value.
    """
    recipe = BUILT_IN.get(name)
    return recipe.data_options(input_shape, num_classes) if recipe else {}


def _ranked(shapes: Shapes, given: Mapping[str, Any]) -> tuple[Fit, ...]:
    found = [fit_recipe(recipe, name, shapes, given) for name, recipe in BUILT_IN.items()]

    def rank(fit: Fit) -> tuple[bool, float, int, int]:
        decided = len(BUILT_IN[fit.name].fixed)
        return (not fit.fits, -fit.closeness, len(fit.problems), -decided)

    return tuple(sorted(found, key=rank))


def _recognise(shapes: Shapes | None, given: Mapping[str, Any], where: str) -> str:
    """Return the name of the one family whose tensors these are."""
    if shapes is None:
        raise ArchitectureError(
            "'auto' reads the architecture from a checkpoint, and there is none", where=where, fix="--arch NAME"
        )
    ranking = _ranked(shapes, given)
    fitting = [fit for fit in ranking if fit.fits]
    families = {fit.family for fit in fitting}
    if len(families) == 1:
        return fitting[0].name
    candidates = fitting or [fit for fit in ranking if fit.closeness][:3]
    raise ArchitectureError(
        "these tensors fit more than one family" if fitting else "these tensors fit no built-in architecture",
        where=where,
        problems=[f"{fit.name}: {'; '.join(fit.problems) or 'fits'}" for fit in candidates],
        fix="--arch NAME, --arch package.module:factory or --arch path/to/file.py:factory",
    )


def _build_recipe(
    recipe: Recipe, name: str, shapes: Shapes | None, given: Mapping[str, Any], where: str
) -> BuiltModel:
    reading = read_recipe(recipe, name, shapes, given)
    if reading.problems:
        raise ArchitectureError(
            f"these options do not make a {name}" if shapes is None else f"these tensors are not a {name}",
            where=where,
            problems=reading.problems,
            fix=nearest(shapes) if shapes else f"hessent archs {name}",
        )
    return BuiltModel(
        construct(recipe, reading.options),
        name,
        reading.options,
        reading.assumptions,
        reading.rename,
        recipe.default_loss,
        recipe.default_data,
    )


def _unknown(name: str, known: list[str]) -> ArchitectureError:
    return ArchitectureError(
        f"no architecture '{name}'",
        where="--arch",
        expected=", ".join(known) + ", auto, timm:NAME, hf:DIR, package.module:factory, path/to/file.py:factory",
        fix=suggest(name, known) or "hessent archs",
    )
