"""Parameters after the `?` of a name: read like a URL's query, checked against a table, all problems at once.

`images:photos?size=224&mean=0.5,0.5,0.5` asks for three of the parameters that the source `images` declares.
Losses use the same form (`cross-entropy?label_smoothing=0.1`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from hessent.errors import suggest

Form = Literal["count", "integer", "number", "numbers", "shape", "text", "choice"]


@dataclass(frozen=True)
class Parameter:
    """One parameter that a name may carry.

    Attributes
    ----------
    form : str
        "count" (a positive integer), "integer", "number" (finite), "numbers" (finite, by comma), "shape"
        (positive integers by "x", as 3x32x32), "text", or "choice".
    help : str
        What it does, as a clause.
    default : object
        Its value when it is not given.
    choices : tuple of str
        The allowed words of a "choice".
    """

    form: Form
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What the value must look like, in words."""
        return " or ".join(self.choices) if self.form == "choice" else _EXPECTED[self.form]

    def convert(self, text: str) -> Any:
        """Return the value that `text` stands for.

        Raises
        ------
        ValueError
            If it does not have the declared form.
        """
        if self.form == "choice":
            if text not in self.choices:
                raise ValueError(text)
            return text
        return _CONVERTERS[self.form](text)


def read_query(query: str) -> tuple[dict[str, str], list[str]]:
    """Take a query apart.

    Parameters
    ----------
    query : str
        ``key=value&key=value``; values may be percent-encoded.

    Returns
    -------
    values : dict
        Key to raw text.
    problems : list of str
        Pieces without ``=`` and keys given twice.
    """
    values: dict[str, str] = {}
    problems = []
    for piece in query.split("&") if query else []:
        key, equals, value = piece.partition("=")
        if not equals or not key:
            problems.append(f"'{piece}' is not of the form key=value")
        elif key in values:
            problems.append(f"'{key}' is given twice")
        else:
            values[key] = unquote(value)
    return values, problems


def read_parameters(query: str, known: Mapping[str, Parameter]) -> tuple[dict[str, Any], list[str]]:
    """Return the value of every known parameter (given or default) and everything that is wrong with `query`."""
    raw, problems = read_query(query)
    values = {key: parameter.default for key, parameter in known.items()}
    for key, text in raw.items():
        if key not in known:
            problems.append(_unknown(key, known))
            continue
        try:
            values[key] = known[key].convert(text)
        except ValueError:
            problems.append(f"{key}={text}: expected {known[key].expected}")
    return values, problems


def _unknown(key: str, known: Mapping[str, Parameter]) -> str:
    near = suggest(key, known)
    tail = near or ("known: " + ", ".join(known) if known else "there are no parameters here")
    return f"unknown parameter '{key}'; {tail}"


def _integer(text: str) -> int:
    number = int(text)
    if abs(number) > _LARGEST:
        raise ValueError(text)
    return number


def _count(text: str) -> int:
    number = _integer(text)
    if number < 1:
        raise ValueError(text)
    return number


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(piece) for piece in text.split(","))


def _shape(text: str) -> tuple[int, ...]:
    return tuple(_count(piece) for piece in text.lower().split("x"))


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


_LARGEST = 2**62  # half of what a 64-bit integer holds: sums and seeds stay representable

_EXPECTED = {
    "count": "a positive integer",
    "integer": "an integer",
    "number": "a finite number",
    "numbers": "finite numbers separated by commas",
    "shape": "positive integers joined by x, such as 3x32x32",
    "text": "some text",
}
_CONVERTERS: dict[str, Callable[[str], Any]] = {
    "count": _count,
    "integer": _integer,
    "number": _number,
    "numbers": _numbers,
    "shape": _shape,
    "text": _text,
}
