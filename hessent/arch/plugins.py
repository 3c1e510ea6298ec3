"""Architectures that other packages offer, by entry points of the group ``hessent.architectures``.

An entry point's name is the architecture's name; its object is a `Recipe`, or a factory that takes options as
keyword arguments and returns a `torch.nn.Module`.  Nothing is imported until it is listed or used.  One that
fails to import, or whose name is taken, is reported under its name and harms no other.  ``HESSENT_NO_PLUGINS=1``
switches them all off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hessent.arch.architecture import Architecture, Recipe
from hessent.errors import ArchitectureError

GROUP = "hessent.architectures"


def find_plugins() -> dict[str, tuple[EntryPoint, ...]]:
    """Return the entry points by name, none imported; more than one under a name is a collision."""
    if os.environ.get("HESSENT_NO_PLUGINS") == "1":
        return {}
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        known = found.get(point.name, ())
        if point not in known:  # the same installation seen twice on sys.path
            found[point.name] = (*known, point)
    return found


def load_plugin(name: str, points: tuple[EntryPoint, ...], *, taken: Container[str]) -> Recipe | Callable[..., Any]:
    """Import a plug-in's recipe or factory.

    Parameters
    ----------
    name : str
    points : tuple of EntryPoint
        All that claim the name.
    taken : container of str
        Names that plug-ins may not claim.

    Returns
    -------
    Recipe or callable

    Raises
    ------
    ArchitectureError
        If the name is claimed twice or taken, or the import fails or yields something else.
    """
    where = f"architecture plug-in '{name}'"
    claims = ", ".join(f"{point.value} ({_source(point)})" for point in points)
    if name in taken or ":" in name or name == "auto":
        raise ArchitectureError(f"the name is taken by hessent; it is also claimed by {claims}", where=where)
    if len(points) > 1:
        raise ArchitectureError(
            f"claimed {len(points)} times: {claims}", where=where, fix="uninstall all but one of them"
        )
    try:
        entry: Recipe | Callable[..., Any] = points[0].load()
    except Exception as error:
        raise ArchitectureError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=where,
            fix=f"mend or uninstall {_source(points[0])}, or set HESSENT_NO_PLUGINS=1",
        ) from error
    if not isinstance(entry, Recipe) and not callable(entry):
        raise ArchitectureError(
            f"{claims} is a {type(entry).__name__}",
            where=where,
            expected="a hessent.arch.architecture.Recipe, or a factory that returns a torch.nn.Module",
        )
    return entry


def describe_plugin(name: str, points: tuple[EntryPoint, ...], *, taken: Container[str]) -> Architecture:
    """Return the listing of a plug-in; one that cannot be used says why in `problem`."""
    source = ", ".join(_source(point) for point in points)
    try:
        entry = load_plugin(name, points, taken=taken)
    except ArchitectureError as error:
        return Architecture(name, "plug-in", "", {}, "cross-entropy", None, source=source, problem=error.found)
    if isinstance(entry, Recipe):
        return Architecture.of(name, entry, source)
    lines = (entry.__doc__ or "a factory").strip().splitlines()
    return Architecture(name, "plug-in", lines[0], {}, "cross-entropy", None, source=source)


def _source(point: EntryPoint) -> str:
    """Return the distribution that declares an entry point."""
    return point.dist.name if point.dist else "unknown distribution"
