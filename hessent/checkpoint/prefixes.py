"""Names without the wrappers that training programs leave in front of them.

`torch.compile` puts `_orig_mod.` into names, DistributedDataParallel and DataParallel put `module.` in front,
Lightning and home-made wrappers the name of an attribute (`model.`, `net.`, `backbone.`).  The first two never
belong to a model and are always removed.  An attribute's name may belong to it (nanoGPT's `transformer.`), so
beyond the three usual ones it is removed only where a model's own names say so (`matching.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hessent.checkpoint.listing import shown
from hessent.errors import CheckpointError

COMPILED = "_orig_mod"
PARALLEL = "module."
USUAL_PREFIXES = ("model.", "net.", "backbone.")


@dataclass(frozen=True)
class StrippedNames:
    """Names in a file, and what they are without wrappers.

    Attributes
    ----------
    names : mapping of str to str
        Name in the file to bare name, in the order given.
    prefixes : tuple of str
        What was removed, in the order of removal.
    """

    names: Mapping[str, str]
    prefixes: tuple[str, ...]

    def without(self, prefix: str) -> StrippedNames:
        """Remove one prefix that all bare names have, and any wrapper that stood behind it."""
        shorter = {name: bare.removeprefix(prefix) for name, bare in self.names.items()}
        return _strip_wrappers(StrippedNames(shorter, (*self.prefixes, prefix)))

    def common_prefix(self) -> str | None:
        """The first component (with its full stop) that all bare names share and do not consist of."""
        components = {bare.partition(".")[0] for bare in self.names.values() if "." in bare[:-1]}
        if len(components) != 1:
            return None
        prefix = components.pop() + "."
        return (
            prefix
            if all(len(bare) > len(prefix) and bare.startswith(prefix) for bare in self.names.values())
            else None
        )


def strip_wrappers(names: Iterable[str]) -> StrippedNames:
    """Remove `_orig_mod.` wherever it stands and `module.` in front of all names, repeatedly.

    Parameters
    ----------
    names : iterable of str
        All names of a checkpoint.

    Returns
    -------
    StrippedNames
        With the wrappers that were found.

    Raises
    ------
    CheckpointError
        Two names become one.
    """
    return _strip_wrappers(StrippedNames({name: name for name in names}, ()))


def strip_prefixes(names: Iterable[str]) -> StrippedNames:
    """Remove wrappers and, after them, one of the usual prefixes that all names share.

    For recognising an architecture before there is a model to compare with.

    Parameters
    ----------
    names : iterable of str
        All names of a checkpoint.

    Returns
    -------
    StrippedNames
        With everything that was removed.

    Raises
    ------
    CheckpointError
        Two names become one.
    """
    stripped = strip_wrappers(names)
    prefix = stripped.common_prefix()
    return stripped.without(prefix) if prefix in USUAL_PREFIXES else stripped


def _strip_wrappers(stripped: StrippedNames) -> StrippedNames:
    names, prefixes = dict(stripped.names), list(stripped.prefixes)
    if any(COMPILED in bare for bare in names.values()):
        shorter = {name: _without_component(bare) for name, bare in names.items()}
        if shorter != names:
            names, prefixes = shorter, [*prefixes, COMPILED + "."]
    while names and all(bare.startswith(PARALLEL) and bare != PARALLEL for bare in names.values()):
        names = {name: bare.removeprefix(PARALLEL) for name, bare in names.items()}
        prefixes.append(PARALLEL)
    repeated, count = Counter(names.values()).most_common(1)[0] if names else ("", 1)
    if count > 1:
        raise CheckpointError(f"{shown(repeated)} stands there twice once '{COMPILED}.' is removed")
    return StrippedNames(names, tuple(prefixes))


def _without_component(name: str) -> str:
    return ".".join(component for component in name.split(".") if component != COMPILED)
