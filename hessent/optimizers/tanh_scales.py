"""The scales of tanh in a file: written by `hessent lion`, read by `hessent train --optimizer lion-tanh`.

    [lion-tanh.scale]
    "*" = 1234.5                     # every parameter that is not named
    "layer4.1.conv2.weight" = 987.6

A scale is in 1 over the unit of the update, so it belongs to one network, loss and size of mini-batches.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from hessent.checkpoint.listing import capped, shown
from hessent.checkpoint.regular_file import open_regular
from hessent.errors import UsageError

OTHERS = "*"
_OPTION = "--tanh-scale"
_LARGEST_FILE = 1 << 24  # bytes
_FORM = f'[lion-tanh.scale] with numbers above 0 by parameter, "{OTHERS}" for the others'

Scales = Mapping[str, float]


def parse_scales(text: str) -> dict[str, float]:
    """Return the scales that a number, for all parameters, or the name of a file stands for.

    Raises
    ------
    UsageError
        If it is neither a number above 0 nor a file of scales.
    """
    try:
        number = float(text)
    except ValueError:
        return _read(text)
    if not _is_scale(number):
        raise UsageError(f"'{text}' is no scale", where=_OPTION, expected="a number above 0, or a file")
    return {OTHERS: number}


def scales_text(scales: Scales, told: Iterable[str]) -> str:
    """Return the file's text; `told` are lines of comment above it."""
    lines = [*(f"# {line}" for line in told), "[lion-tanh.scale]"]
    lines += [f"{json.dumps(name)} = {float(scale)!r}" for name, scale in scales.items()]
    return "\n".join(lines) + "\n"


def scale_of_each(scales: Scales, names: Iterable[str]) -> dict[str, float]:
    """Return the scale of every parameter.

    Raises
    ------
    UsageError
        If one has none, or a scale belongs to no parameter; all are named.
    """
    known = list(names)
    problems = [f"{shown(name)}: no such parameter" for name in scales if name != OTHERS and name not in set(known)]
    problems += [f"{shown(name)}: no scale" for name in known if name not in scales and OTHERS not in scales]
    if problems:
        raise UsageError(
            "the scales do not fit the network",
            where=_OPTION,
            problems=capped(problems),
            fix=f"hessent lion on a checkpoint of this network, or one number, or '{OTHERS}' in the file",
        )
    return {name: scales.get(name, scales.get(OTHERS, math.nan)) for name in known}


def groups(scales: Scales, named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    """Return a group for every parameter, with its scale, as `Lion` takes them."""
    parameters = dict(named)
    chosen = scale_of_each(scales, parameters)
    return [{"params": [value], "tanh_scale": chosen[name]} for name, value in parameters.items()]


def _read(path: str) -> dict[str, float]:
    if not os.path.lexists(path):
        raise UsageError(f"'{path}' is neither a number nor a file", where=_OPTION, expected=_FORM)
    with open_regular(path) as (handle, stamp):
        if stamp.size > _LARGEST_FILE:
            raise UsageError(f"it has {stamp.size:,} bytes", where=f"{_OPTION} {path}", expected=_FORM)
        raw = handle.read(_LARGEST_FILE)
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"this is not TOML: {error}", where=f"{_OPTION} {path}", expected=_FORM) from error
    section = document.get("lion-tanh")
    found = section.get("scale") if isinstance(section, dict) else None
    if not isinstance(found, dict) or not found:
        raise UsageError("it holds no scales", where=f"{_OPTION} {path}", expected=_FORM)
    wrong = [f"{shown(name)} = {shown(str(value))}" for name, value in found.items() if not _is_scale(value)]
    if wrong:
        raise UsageError(
            "some scales are not numbers above 0", where=f"{_OPTION} {path}", problems=capped(wrong), expected=_FORM
        )
    return {name: float(value) for name, value in found.items()}


def _is_scale(value: Any) -> bool:
    try:
        return type(value) in (int, float) and 0 < float(value) < math.inf
    except OverflowError:
        return False
