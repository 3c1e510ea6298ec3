"""JSON from files that cannot be trusted: bounded before it is parsed, and nothing taken twice.

Python's parser keeps the last of two equal keys and has no limit on the objects it builds, which makes a 16 MB
text cost a gigabyte.  Counting the marks that begin an object, a list or a value bounds the memory beforehand.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

MAX_BYTES = 16 * 2**20
# An index of 200,000 tensors has as many colons; the log in a trainer's state may have more.
MAX_COLONS = 400_000
MAX_MARKS = 2_000_000
_SHOWN = 160


class RefusedJsonError(ValueError):
    """A JSON text that is not taken, well-formed or not; the text is the clause for the user."""


def parse_bytes(raw: bytes) -> Any:
    """Parse one JSON value.

    Parameters
    ----------
    raw : bytes
        UTF-8 text, at most 16 MB.

    Returns
    -------
    object
        With keys that are unique.

    Raises
    ------
    RefusedJsonError
        Not UTF-8, not JSON, a repeated key, NaN or Infinity, nested or filled beyond the limits.
    """
    require_small(raw)
    try:
        return parse_text(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RefusedJsonError(str(error)) from error


def require_small(raw: bytes) -> None:
    """Refuse a text that would take too much memory as objects.

    Raises
    ------
    RefusedJsonError
        It has more than 16 MB, 400,000 named values or 2,000,000 values.
    """
    if len(raw) > MAX_BYTES:
        raise RefusedJsonError(f"it is {len(raw):,} bytes long, of which at most {MAX_BYTES:,} are read")
    colons = raw.count(b":")
    if colons > MAX_COLONS or colons + sum(raw.count(mark) for mark in (b",", b"[", b"{")) > MAX_MARKS:
        raise RefusedJsonError(f"it has too many entries, of which at most {MAX_COLONS:,} are read")


def parse_text(text: str) -> Any:
    """Parse a JSON value strictly; its size is not looked at.

    Raises
    ------
    RefusedJsonError
        Not JSON, a repeated key, NaN or Infinity, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse_constant)
    except RecursionError:
        raise RefusedJsonError("it is nested too deeply") from None
    except RefusedJsonError:
        raise
    except ValueError as error:
        raise RefusedJsonError(str(error)) from error


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of the members of an object, none of which may stand there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RefusedJsonError(f"the key {repeated[:_SHOWN]!r} stands there twice")
    return found


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise RefusedJsonError(f"{name} is not a JSON number")
