"""What a checkpoint says about itself, as text that any safetensors reader can show.

| key | content |
|---|---|
| `hessent.format` | "1" |
| `hessent.arch`, `hessent.loss`, `hessent.data` | bare built-in names (see `trust.py`) |
| `hessent.arch_options` | JSON object, option to plain value |
| `hessent.samples`, `hessent.batch_size` | whole numbers from 1: how much data an analysis should take |
| `hessent.step`, `hessent.total_steps`, `hessent.seed` | whole numbers from 0 |
| `hessent.optimizer` | JSON object: `name` and its settings (`lr`, …) |
| `hessent.metrics` | JSON object of finite numbers: `train_loss`, `test_accuracy`, … |

Keys outside `hessent.` belong to others and are kept as they are.  A key inside it that we do not know is refused:
a mistyped key that is silently dropped would be a setting silently lost.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hessent.checkpoint.listing import capped, shown
from hessent.checkpoint.trust import arch_problem, data_problem, loss_problem, options_problems
from hessent.errors import CheckpointError, suggest
from hessent.foreign.strict_json import parse_text

PREFIX = "hessent."
FORMAT = "1"


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a checkpoint says about itself; every field may be missing.

    Attributes
    ----------
    arch, data, loss : str or None
        Built-in names; `data` may hold a path relative to the checkpoint's folder.
    arch_options : mapping
        Option name to plain value.
    samples, batch_size : int or None
        How much data an analysis should take, and how much at once.
    step, total_steps : int or None
        Optimizer steps done, and the length of the whole run.
    optimizer : mapping
        "name" and the settings the run had.
    metrics : mapping of str to float
        Measured when the checkpoint was saved (losses in nats, accuracies in 0…1).
    seed : int or None
        Of the run.
    extra : mapping of str to str
        Text under keys that are not ours.
    """

    arch: str | None = None
    arch_options: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    loss: str | None = None
    samples: int | None = None
    batch_size: int | None = None
    step: int | None = None
    total_steps: int | None = None
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def progress(self) -> float | None:
        """Share of the run that was done, 0…1; None when it is not known."""
        if self.step is None or not self.total_steps:
            return None
        return self.step / self.total_steps


def to_text(metadata: CheckpointMetadata) -> dict[str, str]:
    """Write metadata as text to text, sorted by key, the same for the same content.

    Raises
    ------
    CheckpointError
        A value could not be read back: a name that `trust.py` refuses, a number that is not finite, …
    """
    text = dict(metadata.extra)
    ours = {name: getattr(metadata, name) for name in _PARSERS}
    for name, value in ours.items():
        if value is None or value == {}:
            continue
        plain = isinstance(value, (str, int))
        text[PREFIX + name] = str(value) if plain else json.dumps(value, sort_keys=True, separators=(",", ":"))
    if any(key.startswith(PREFIX) for key in text):
        text[PREFIX + "format"] = FORMAT
    from_text(text, "metadata to write")
    return dict(sorted(text.items()))


def from_text(mapping: Mapping[str, str], where: str) -> CheckpointMetadata:
    """Read metadata back.

    Parameters
    ----------
    mapping : mapping of str to str
        The text metadata of a safetensors file.
    where : str
        The file, for messages.

    Returns
    -------
    CheckpointMetadata
        Without any of our keys: empty but for `extra`.

    Raises
    ------
    CheckpointError
        All that is wrong, at once: unknown keys and formats, values out of range, names that are not built in.
    """
    problems: list[str] = []
    values: dict[str, Any] = {"extra": {key: text for key, text in mapping.items() if not key.startswith(PREFIX)}}
    ours = {key.removeprefix(PREFIX): text for key, text in mapping.items() if key.startswith(PREFIX)}
    if ours and (found := ours.pop("format", None)) != FORMAT:
        problems.append(f"{PREFIX}format is {shown(found) if found is not None else 'missing'}, we read '{FORMAT}'")
    for name, text in ours.items():
        parser = _PARSERS.get(name)
        if parser is None:
            hint = suggest(name, _PARSERS)
            problems.append(f"{shown(PREFIX + name)} is not a key of ours" + (f"; {hint}" if hint else ""))
            continue
        try:
            values[name] = parser(text)
        except ValueError as error:
            problems.append(f"{PREFIX}{name}: {error}")
    step, total_steps = values.get("step"), values.get("total_steps")
    if step is not None and total_steps is not None and step > total_steps:
        problems.append(f"{PREFIX}step: step {step} lies beyond the last one, {total_steps}")
    if problems:
        raise CheckpointError("its metadata cannot be taken", where=where, problems=capped(problems), fix=_FIX)
    return CheckpointMetadata(**values)


_FIX = "save the checkpoint again without these keys, and give --arch, --data and --loss on the command line"


def _name(judge: Callable[[str], str | None]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        problem = judge(text)
        if problem is not None:
            raise ValueError(problem)
        return text

    return parse


def _whole_number(smallest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,18}", text) is None or int(text) < smallest:
            raise ValueError(f"{shown(text)} is not a whole number from {smallest}")
        return int(text)

    return parse


def _object(text: str) -> dict[str, Any]:
    found = parse_text(text)
    if not isinstance(found, dict):
        raise ValueError(f"{shown(text)} is not a JSON object")
    return found


def _arch_options(text: str) -> dict[str, Any]:
    found = _object(text)
    problems = options_problems(found)
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _optimizer(text: str) -> dict[str, Any]:
    found = _object(text)
    name = found.get("name")
    if not isinstance(name, str) or arch_problem(name):
        raise ValueError("its 'name' is missing or not a bare word")
    return found


def _metrics(text: str) -> dict[str, float]:
    found = _object(text)
    wrong = [name for name, value in found.items() if not _is_finite(value)]
    if wrong:
        raise ValueError(f"not finite numbers: {', '.join(shown(name) for name in wrong)}")
    return found


def _is_finite(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "arch": _name(arch_problem),
    "arch_options": _arch_options,
    "data": _name(data_problem),
    "loss": _name(loss_problem),
    "samples": _whole_number(1),
    "batch_size": _whole_number(1),
    "step": _whole_number(0),
    "total_steps": _whole_number(0),
    "optimizer": _optimizer,
    "metrics": _metrics,
    "seed": _whole_number(0),
}
