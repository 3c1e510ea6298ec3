"""JSON from files that cannot be trusted: bounded before it is parsed, and nothing taken twice.

Python's parser keeps the last of two equal keys and has no limit on the objects it builds, which makes a 16 MB
text cost a gigabyte.  Counting the marks that begin an object, a list or a value bounds the memory beforehand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from hessent.checkpoint.listing import shown
from hessent.errors import CheckpointError

MAX_BYTES = 16 * 2**20
# An index of 200,000 tensors has as many colons; the log in a trainer's state may have more.
MAX_COLONS = 400_000
MAX_MARKS = 2_000_000
# A member of a header is `{"dtype": …, "shape": […], "data_offsets": […]}`: 64 lengths of 19 digits, and spaces.
MAX_MEMBER = 4096


class _RefusedError(ValueError):
    """A JSON text that is well-formed but that we do not accept."""


def parse_object(raw: bytes, where: str, what: str) -> dict[str, Any]:
    """Parse one JSON object.

    Parameters
    ----------
    raw : bytes
        UTF-8 text, at most 16 MB.
    where : str
        The file, for messages.
    what : str
        What the text is ("header", "index"), for messages.

    Returns
    -------
    dict
        The object; keys are unique.

    Raises
    ------
    CheckpointError
        Not UTF-8, not JSON, not an object, a repeated key, NaN or Infinity, nested or filled beyond the limits.
    """
    if len(raw) > MAX_BYTES:
        raise CheckpointError(
            f"the {what} is {len(raw):,} bytes long", where=where, expected=f"at most {MAX_BYTES:,} bytes"
        )
    colons = raw.count(b":")
    if colons > MAX_COLONS or colons + sum(raw.count(mark) for mark in (b",", b"[", b"{")) > MAX_MARKS:
        raise CheckpointError(f"the {what} has too many entries", where=where, expected=f"at most {MAX_COLONS:,}")
    try:
        found = parse_text(raw.decode("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"the {what} is not valid JSON: {error}", where=where, fix=_FIX) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"the {what} is a JSON {type(found).__name__}", where=where, expected="an object", fix=_FIX
        )
    return found


_FIX = "fetch or save the file again: it is damaged or was not written by a checkpoint writer"


def parse_text(text: str) -> Any:
    """Parse any JSON value strictly.

    Raises
    ------
    ValueError
        Not JSON, a repeated key, NaN or Infinity, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise _RefusedError("it is nested too deeply") from None


def members(text: str, long_member: str, long_limit: int) -> Iterator[tuple[str, Any]]:
    """Parse an object of flat objects one member at a time, so that its size never stands in memory as a whole.

    Parameters
    ----------
    text : str
        One JSON object, with space around it at most.
    long_member : str
        The key whose object may be long and hold any text.
    long_limit : int
        Its greatest length, characters.

    Yields
    ------
    tuple of str and dict
        Key and value, in the order of the text; a repeated key is yielded again.

    Raises
    ------
    ValueError
        Not JSON, or a value that is not a flat object within the limits.
    """
    position = _expect(_OPENING, text, 0)
    closing = _CLOSING.match(text, position)
    while closing is None:
        if not text.startswith('"', position):
            raise _RefusedError(f"a key is missing at character {position:,}")
        key, position = _DECODER.raw_decode(text, position)
        position = _expect(_COLON, text, position)
        if key == long_member:
            end = position + long_limit
        elif (end := text.find("}", position) + 1) - position > MAX_MEMBER:
            raise _RefusedError(f"the entry {shown(key)} is too long")
        value, length = _object_at(text[position:end], key, cut=end < len(text))
        yield key, value
        position += length
        closing = _CLOSING.match(text, position)
        if closing is None:
            position = _expect(_COMMA, text, position)
    _expect(_END, text, closing.end())


_SPACE = r"[ \t\r\n]*"
_OPENING, _COLON, _COMMA = (re.compile(_SPACE + mark + _SPACE) for mark in (r"\{", ":", ","))
_CLOSING, _END = re.compile(_SPACE + r"\}"), re.compile(_SPACE + r"\Z")


def _expect(mark: re.Pattern[str], text: str, position: int) -> int:
    found = mark.match(text, position)
    if found is None:
        raise _RefusedError(f"it breaks off or is damaged at character {position:,}")
    return found.end()


def _object_at(text: str, key: str, *, cut: bool) -> tuple[dict[str, Any], int]:
    if not text.startswith("{"):
        raise _RefusedError(f"the entry {shown(key)} is not an object")
    try:
        return cast(tuple[dict[str, Any], int], _DECODER.raw_decode(text))
    except RecursionError:
        raise _RefusedError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = f"does not end within {len(text):,} characters" if cut else f"is damaged ({error})"
        raise _RefusedError(f"the entry {shown(key)} {reason}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _RefusedError(f"the key {shown(repeated)} stands there twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
