"""From a name to a network: the built-in table, plug-ins, providers and factories behind one `build`.

``--arch`` takes a registry name (``resnet18``), ``auto`` (whatever built-in the tensors fit), a provider's name
(``timm:…``, ``hf:DIR``), or a factory (``package.module:factory``, ``path/to/file.py:factory``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hessent.arch.architecture import Architecture, BuiltModel, Fit, OptionSpec, Recipe, Shapes
from hessent.arch.built_in import BUILT_IN
from hessent.arch.factories import build_from_factory, call_factory
from hessent.arch.plugins import describe_plugin, find_plugins, load_plugin
from hessent.arch.providers import PROVIDERS, build_from_provider
from hessent.arch.recognition import build_recipe, rank_fits, recognise
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
    "data_problem",
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
        name = recognise(shapes, given, where)
    if ":" in name:
        known = name.partition(":")[0] in PROVIDERS
        return build_from_provider(name, given) if known else build_from_factory(name, given)
    entry = _find(name)
    if not isinstance(entry, Recipe):
        return call_factory(entry, name, given)
    try:
        return build_recipe(entry, name, shapes, given, where)
    except Exception as error:
        if name in BUILT_IN or isinstance(error, ArchitectureError):
            raise
        raise ArchitectureError(
            f"the plug-in '{name}' raised {type(error).__name__}: {error}", where=where
        ) from error


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
    return rank_fits(strip_prefixes(tensors), {})


def nearest(tensors: Shapes) -> str | None:
    """Return advice naming the built-in that comes nearest to these tensors; None where none is near."""
    best = fits(tensors)[0]
    if best.fits:
        return f"--arch {best.name}, which fits these tensors"
    if not best.closeness:
        return None
    return f"--arch {best.name}, which comes nearest ({'; '.join(best.problems)})"


def is_built_in(name: str) -> bool:
    """Return whether a name is in the built-in table: the only names that a checkpoint's metadata may use."""
    return name in BUILT_IN


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

    Raises
    ------
    ArchitectureError
        If there is no such registry name.
    """
    entry = None if ":" in name else _find(name)
    return entry.data_options(input_shape, num_classes) if isinstance(entry, Recipe) else {}


def data_problem(built: BuiltModel, *, input_shape: tuple[int, ...], num_classes: int | None) -> str | None:
    """Return why a network cannot take a dataset: its inputs' shape or its number of classes; None if it can.

    Networks of providers and factories say nothing about their inputs, and nothing is found wrong with them here.
    """
    entry = None if ":" in built.name else _find(built.name)
    return entry.data_problem(built.options, input_shape, num_classes) if isinstance(entry, Recipe) else None


def _find(name: str) -> Recipe | Callable[..., Any]:
    """Look a plain name up: built in first, then plug-ins, which are imported only now."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    plugins = find_plugins()
    if name in plugins:
        return load_plugin(name, plugins[name], taken=BUILT_IN)
    known = [*BUILT_IN, *plugins]
    hint = suggest(name, known)
    if name.endswith(".py"):
        hint = f"{name}:NAME, where NAME is the function in it that returns the network"
    raise ArchitectureError(
        f"no architecture '{name}'",
        where="--arch",
        expected=", ".join(
            [*known, "auto", "timm:NAME", "hf:DIR", "package.module:factory", "path/to/file.py:factory"]
        ),
        fix=hint or "hessent archs",
    )
