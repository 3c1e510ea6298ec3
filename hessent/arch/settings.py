"""Options as typed, and how each setting is decided.

A setting may be decided by four voices: the checkpoint's tensors, the architecture's name, the user's option, and
last a default.  All that speak must agree; a default that had to be used while reading a checkpoint is an
assumption and is said aloud.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from hessent.arch.architecture import OptionSpec, Reading, Rename
from hessent.errors import ArchitectureError, suggest

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parse_options(given: Mapping[str, Any], specs: Mapping[str, OptionSpec], *, name: str) -> dict[str, Any]:
    """Turn options as typed (or as stored in JSON) into values of their declared types.

    Parameters
    ----------
    given : mapping
        Option name to text, or to a JSON value from a checkpoint's metadata.
    specs : mapping of str to OptionSpec
        The options that exist.
    name : str
        The architecture, for messages.

    Returns
    -------
    dict
        Option name to value; sizes as tuples of int.

    Raises
    ------
    ArchitectureError
        Listing every unknown option and every value that cannot be read.
    """
    values: dict[str, Any] = {}
    problems = []
    for key, text in given.items():
        if text is None:  # a setting that metadata leaves open
            continue
        if key not in specs:
            hint = suggest(key, specs)
            problems.append(f"no option '{key}'" + (f"; {hint}" if hint else ""))
            continue
        try:
            values[key] = _parse_value(text, specs[key])
        except ValueError as error:
            problems.append(f"{key}={show(text)}: {error}")
    if problems:
        listing = ", ".join(specs) if specs else "none"
        raise ArchitectureError(
            f"{len(problems)} architecture option(s) cannot be used",
            where=f"--arch {name}",
            problems=problems,
            expected=f"options of {name}: {listing}",
            fix=f"hessent archs {name}",
        )
    return values


def parse_free(text: Any) -> Any:
    """Read an option of a factory: a JSON scalar where the text is one, else the text itself."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value


def show(value: Any) -> str:
    """Write a setting the way it is typed after ``--arch-option KEY=``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return "-".join(str(item) for item in value)
    return str(value)


def _parse_value(value: Any, spec: OptionSpec) -> Any:
    text = show(value).strip()
    if spec.type == "bool":
        if text.lower() not in _WORDS:
            raise ValueError("expected yes or no")
        return _WORDS[text.lower()]
    if spec.type == "choice":
        if text not in spec.choices:
            raise ValueError(suggest(text, spec.choices) or "expected " + " or ".join(spec.choices))
        return text
    if spec.type == "sizes":
        return _parse_sizes(text)
    if spec.type == "float":
        return _parse_positive_float(text)
    return _parse_positive_int(text)


def _parse_positive_int(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise ValueError("expected a whole number, at least 1")
    return int(text)


def _parse_positive_float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError("expected a number above 0")
    return number


def _parse_sizes(text: str) -> tuple[int, ...]:
    parts = text.strip("[]()").replace("x", "-").replace(",", "-").split("-")
    try:
        return tuple(_parse_positive_int(part.strip()) for part in parts)
    except ValueError:
        raise ValueError("expected whole numbers joined by '-', such as 2-2-2-2") from None


class Settings:
    """Collects the settings of one network while a family reads shapes and options.

    Parameters
    ----------
    given : mapping
        The user's options, parsed.
    fixed : mapping
        What the architecture's name decides.
    reads_checkpoint : bool
        True when tensors were found, so that a default taken is an assumption worth saying.
    """

    def __init__(self, given: Mapping[str, Any], fixed: Mapping[str, Any], *, reads_checkpoint: bool) -> None:
        self.given = dict(given)
        self.fixed = fixed
        self.reads_checkpoint = reads_checkpoint
        self.values: dict[str, Any] = {}
        self.assumptions: list[str] = []
        self.problems: list[str] = []

    def settle(self, name: str, *, seen: Any = None, default: Any, why: str = "the usual value") -> Any:
        """Decide one setting and remember it.

        Parameters
        ----------
        name : str
            The option's name.
        seen : object, optional
            What the tensors say; None when they are silent.
        default : object
            Taken when tensors, name and user are all silent.
        why : str
            Where the default comes from, for the assumption's sentence.

        Returns
        -------
        object
            The setting.  Voices that disagree are recorded as a problem, and the first of them is returned.
        """
        voices = [
            (value, voice)
            for value, voice in (
                (seen, "in the tensors"),
                (self.fixed.get(name), "by the architecture's name"),
                (self.given.get(name), "by the option"),
            )
            if value is not None
        ]
        if not voices:
            voices = [(default, "by default")]
            if self.reads_checkpoint:
                self.assumptions.append(f"{name} = {show(default)}: {why}; the tensors do not tell")
        value, voice = voices[0]
        for other, other_voice in voices[1:]:
            if other != value:
                self.problems.append(f"{name} is {show(value)} {voice}, but {show(other)} {other_voice}")
        self.values[name] = value
        return value

    def reading(self, *, rename: Rename | None = None, closeness: float = 0.0) -> Reading:
        """Return everything collected."""
        return Reading(self.values, tuple(self.assumptions), tuple(self.problems), rename, closeness)
