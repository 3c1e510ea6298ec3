"""Joining the files of a run that was split into parts (`hessent spectrum --units 1/3 … 3/3`).

The parts must be those of one run: the same weights, data, settings, versions and operator's check.  Joined, they
are what one process would have written, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hessent.errors import UsageError
from hessent.spectra.model import Spectrum
from hessent.spectra.provenance import CheckpointInfo

PART = "units"  # the setting that tells of a part
_OF_ONE_RUN = ("checkpoint", "data", "loss", "curvature", "seed", "versions", "checks", "tensor_probe", "split")
_OWN = frozenset({PART, "max_time"})  # settings that may differ between parts


def merge(parts: Mapping[str, Spectrum]) -> Spectrum:
    """Join the parts of one run.

    Parameters
    ----------
    parts : mapping of str to Spectrum
        By the name of the file.

    Returns
    -------
    Spectrum
        All blocks in the model's order, complete.

    Raises
    ------
    UsageError
        If a file is no part, is unfinished, belongs to another run, comes twice, or if parts are missing; all that
        is wrong, at once.
    """
    problems = [problem for name, part in parts.items() for problem in _own_problems(name, part)]
    if not problems:
        problems = [*_strangers(parts), *_gaps(parts)]
    if problems:
        raise UsageError(
            "these files do not make one run",
            problems=problems,
            expected="the files of `hessent spectrum … --units 1/N` to `N/N`, each of them finished",
            fix="the same command, with the same options but --units and -o, for each part that is missing",
        )
    first = next(iter(parts.values()))
    names: Sequence[str] = first.settings[PART]["blocks"]
    known = {block.name: block for part in parts.values() for block in part.blocks}
    return replace(
        first,
        complete=True,
        settings={key: value for key, value in first.settings.items() if key != PART},
        blocks=tuple(known[name] for name in names),
    )


def part_of(spectrum: Spectrum) -> str | None:
    """Return which part of a run a file is, as `1 of 3`; None for a file that is no part."""
    told: Any = spectrum.settings.get(PART)
    return f"{told['part']} of {told['of']}" if _is_part(told) else None


def _own_problems(name: str, part: Spectrum) -> list[str]:
    """What is wrong with one file alone."""
    told: Any = part.settings.get(PART)
    if not _is_part(told):
        whole = "a whole run" if part.complete else "no part of a run"
        return [f"{name}: is {whole}"]
    if not told["done"]:
        return [f"{name}: part {told['part']} of {told['of']} was stopped early"]
    strange = {block.name for block in part.blocks} - set(told["blocks"])
    return [f"{name}: holds blocks that its run does not have: {', '.join(sorted(strange))}"] if strange else []


def _is_part(told: Any) -> bool:
    return (
        isinstance(told, dict)
        and all(type(told.get(key)) is int for key in ("part", "of"))
        and isinstance(told.get("done"), bool)
        and isinstance(told.get("blocks"), list)
        and all(isinstance(block, str) for block in told["blocks"])
    )


def _strangers(parts: Mapping[str, Spectrum]) -> list[str]:
    """Files that do not belong to the run of the first one, with what differs."""
    (first_name, first), *others = parts.items()
    wanted = _run_of(first)
    problems = []
    for name, part in others:
        found = _run_of(part)
        differing = [key for key in sorted({*wanted, *found}) if wanted.get(key) != found.get(key)]
        if differing:
            problems.append(f"{name}: another run than {first_name} ({', '.join(differing)} differ)")
    return problems


def _run_of(part: Spectrum) -> dict[str, str]:
    """Everything that the parts of a run have in common, as text that can be compared."""
    common = {key: _text(getattr(part, key)) for key in _OF_ONE_RUN}
    common |= {f"setting {key}": _text(value) for key, value in part.settings.items() if key not in _OWN}
    return common | {"setting units": _text([part.settings[PART][key] for key in ("of", "blocks")])}


def _text(value: Any) -> str:
    plain = dict(vars(value)) if hasattr(value, "__dict__") else value
    if isinstance(value, CheckpointInfo):
        del plain["path"]  # each job may see the weights elsewhere
    return json.dumps(plain, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return vars(value) if hasattr(value, "__dict__") else str(value)


def _gaps(parts: Mapping[str, Spectrum]) -> list[str]:
    """Parts that come twice or not at all, and blocks that nobody has."""
    told = [(name, part.settings[PART]) for name, part in parts.items()]
    count = told[0][1]["of"]
    numbers = [part["part"] for _, part in told]
    problems = [
        f"part {number} of {count} comes {numbers.count(number)} times"
        for number in sorted(set(numbers))
        if numbers.count(number) > 1
    ]
    missing = [str(number) for number in range(1, count + 1) if number not in numbers]
    if missing:
        return [*problems, f"missing: part {', '.join(missing)} of {count}"]
    held = {block.name for part in parts.values() for block in part.blocks}
    lost = [name for name in told[0][1]["blocks"] if name not in held]
    return [*problems, *([f"no part holds {', '.join(lost)}"] if lost else [])]
