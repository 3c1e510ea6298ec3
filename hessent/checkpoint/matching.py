"""Putting a checkpoint's tensors into a module: all of them, or none and a list of what does not fit.

A tool that loads some of the weights in silence measures a model that nobody trained.  So the match is strict in
both directions, and what is forgiven is said: wrappers in front of names, one name of two that are tied,
counters of batches that evaluation never reads, and buffers that the module makes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hessent.checkpoint.listing import capped, shown, shown_list
from hessent.checkpoint.module_names import ModuleNames, module_names
from hessent.checkpoint.prefixes import StrippedNames, strip_wrappers
from hessent.errors import CheckpointError

MAX_PREFIXES = 3


@dataclass(frozen=True)
class MatchReport:
    """What was forgiven while loading.

    Attributes
    ----------
    stripped : tuple of str
        Prefixes removed from the checkpoint's names, in the order of removal.
    tied : tuple of str
        The module's names that the file leaves out because another name holds the same tensor.
    ignored : tuple of str
        Names in the file or in the module that were not compared.
    sources : mapping of str to str
        The module's names, all that one tensor has, to the name in the file that its values came from.
    notes : tuple of str
        All of this as sentences for the user.
    """

    stripped: tuple[str, ...]
    tied: tuple[str, ...]
    ignored: tuple[str, ...]
    sources: Mapping[str, str]
    notes: tuple[str, ...]


def load_into(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    rename: Callable[[str], str | None] | None = None,
    where: str,
) -> MatchReport:
    """Copy a checkpoint's values into a module's parameters and buffers.

    Parameters
    ----------
    model : nn.Module
        On a real device; keeps its element types.
    tensors : mapping of str to Tensor
        As `Checkpoint.load` returns them.
    rename : callable, optional
        From a checkpoint's bare name to the module's name.
    where : str
        The checkpoint as typed, for messages.

    Returns
    -------
    MatchReport
        What was forgiven.

    Raises
    ------
    CheckpointError
        Anything is missing, unexpected, of another shape or kind, or differs where the module has one tensor.  All
        findings are listed, and the module is as it was.
    """
    wanted = module_names(model)
    try:
        stripped, sources = _best_reading(tensors, wanted, rename)
    except CheckpointError as error:
        raise CheckpointError(error.found, where=where) from error
    given = {name: tensors[source] for name, source in sources.items() if not wanted.forgives(name)}
    problems = [*_missing(given, wanted), *_unexpected(given, sources, wanted), *_misfits(given, wanted)]
    if problems:
        raise CheckpointError(
            "the weights do not fit the architecture",
            where=where,
            problems=problems,
            expected=f"{len(wanted.required)} tensors of the module, each with its shape",
            fix="hessent inspect shows the architectures that fit; choose with --arch and --arch-option",
        )
    with torch.no_grad():
        for name, value in given.items():
            wanted.tensors[name].copy_(value)
        for name, counter in wanted.counters.items():
            if name in sources and tensors[sources[name]].shape == counter.shape:
                counter.copy_(tensors[sources[name]])
    return _report(stripped, sources, given, wanted)


def _best_reading(
    tensors: Mapping[str, Tensor], wanted: ModuleNames, rename: Callable[[str], str | None] | None
) -> tuple[StrippedNames, dict[str, str]]:
    """Choose how many common prefixes to remove: as few as give the most names of the module."""
    readings = [(reading, _renamed(reading, rename)) for reading in _readings(tensors)]
    return max(readings, key=lambda pair: len(pair[1].keys() & wanted.required))  # the first of equals


def _readings(tensors: Mapping[str, Tensor]) -> Iterator[StrippedNames]:
    reading = strip_wrappers(tensors)
    yield reading
    for _ in range(MAX_PREFIXES):
        prefix = reading.common_prefix()
        if prefix is None:
            return
        reading = reading.without(prefix)
        yield reading


def _renamed(reading: StrippedNames, rename: Callable[[str], str | None] | None) -> dict[str, str]:
    sources: dict[str, str] = {}
    for source, bare in reading.names.items():
        name = rename(bare) if rename is not None else bare
        if name is None:  # a key that the architecture knows and has no use for
            continue
        if name in sources:
            raise CheckpointError(f"{shown(source)} and {shown(sources[name])} both mean {shown(name)}")
        sources[name] = source
    return sources


def _missing(given: Mapping[str, Tensor], wanted: ModuleNames) -> list[str]:
    found = []
    for group in wanted.groups:
        if not any(name in given for name in group):
            also = f" (or {shown_list(group[1:])}, the same tensor)" if len(group) > 1 else ""
            found.append(f"missing: {shown(group[0])}{also}, {_shape(wanted.tensors[group[0]])}")
    return capped(found, kind="missing")


def _unexpected(given: Mapping[str, Tensor], sources: Mapping[str, str], wanted: ModuleNames) -> list[str]:
    extra = [name for name in given if name not in wanted.required]
    return capped(
        [f"unexpected: {_as_in_file(name, sources)}, {_shape(given[name])}" for name in extra], kind="unexpected"
    )


def _misfits(given: Mapping[str, Tensor], wanted: ModuleNames) -> list[str]:
    shapes, kinds, unequal = [], [], []
    for name, value in given.items():
        target = wanted.tensors.get(name)
        if target is None:
            continue
        if target.shape != value.shape:
            shapes.append(f"wrong shape: {shown(name)} is {_shape(value)}, expected {_shape(target)}")
        elif _kind(target) != _kind(value):
            kinds.append(f"wrong type: {shown(name)} is {value.dtype}, expected {target.dtype}")
    for group in wanted.groups:
        present = [name for name in group if name in given]
        if any(not torch.equal(given[name], given[present[0]]) for name in present[1:]):
            unequal.append(f"tied, but different in the file: {shown_list(present)}")
    return [
        *capped(shapes, kind="of wrong shape"),
        *capped(kinds, kind="of wrong type"),
        *capped(unequal, kind="tied"),
    ]


def _report(
    stripped: StrippedNames, sources: Mapping[str, str], given: Mapping[str, Tensor], wanted: ModuleNames
) -> MatchReport:
    notes = [f"the prefix {shown(prefix)} was removed from the names" for prefix in stripped.prefixes]
    renamed = [name for name, source in sources.items() if stripped.names[source] != name]
    if renamed:
        example = f"{shown(stripped.names[sources[renamed[0]]])} -> {shown(renamed[0])}"
        notes.append(f"{len(renamed)} names were read in the module's naming, such as {example}")
    tied: list[str] = []
    taken: dict[str, str] = {}
    for group in wanted.groups:
        present = [name for name in group if name in given]
        taken |= dict.fromkeys(group, sources[present[0]])
        tied += [name for name in group if name not in given]
        notes += [f"{shown(name)} is the same tensor as {shown(present[0])}" for name in group if name not in given]
    counters = sorted({*wanted.counters, *filter(wanted.is_counter, sources)})
    lone = [name for name in counters if name not in wanted.counters or name not in sources]
    if lone:
        notes.append(
            f"{len(lone)} counters (num_batches_tracked) are on one side only; evaluation does not use them"
        )
    made = sorted(wanted.transient & sources.keys())
    if made:
        notes.append(f"buffers that the module makes itself were not taken from the file: {shown_list(made, 5)}")
    return MatchReport(stripped.prefixes, tuple(tied), (*lone, *made), taken, tuple(notes))


def _as_in_file(name: str, sources: Mapping[str, str]) -> str:
    return shown(name) if sources[name] == name else f"{shown(name)} (in the file {shown(sources[name])})"


def _shape(tensor: Tensor) -> str:
    return f"shape ({', '.join(map(str, tensor.shape))})"


def _kind(tensor: Tensor) -> str:
    return "floating" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "whole"
