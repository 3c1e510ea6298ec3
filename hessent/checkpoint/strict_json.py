"""JSON of checkpoints: an index or a trainer's state as a whole, and a header member by member.

What is taken and how much of it, `hessent.foreign.strict_json` decides; here it becomes an error of a checkpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from hessent.checkpoint.listing import printable, shown
from hessent.errors import CheckpointError
from hessent.foreign.strict_json import RefusedJsonError, parse_bytes, refuse_constant, unique

# A member of a header is `{"dtype": …, "shape": […], "data_offsets": […]}`: 64 lengths of 19 digits, and spaces.
MAX_MEMBER = 4096
_FIX = "fetch or save the file again: it is damaged or was not written by a checkpoint writer"


def parse_object(raw: bytes, where: str, what: str) -> dict[str, Any]:
    """Parse one JSON object.

    Parameters
    ----------
    raw : bytes
        UTF-8 text, at most 16 MB.
    where : str
        The file, for messages.
    what : str
        What the text is ("index", "trainer state"), for messages.

    Returns
    -------
    dict
        The object; keys are unique.

    Raises
    ------
    CheckpointError
        Not UTF-8, not JSON, not an object, a repeated key, NaN or Infinity, nested or filled beyond the limits.
    """
    try:
        found = parse_bytes(raw)
    except RefusedJsonError as error:
        raise CheckpointError(
            f"the {what} is not JSON that is read: {printable(str(error))}", where=where, fix=_FIX
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"the {what} is a JSON {type(found).__name__}", where=where, expected="an object", fix=_FIX
        )
    return found


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
            raise RefusedJsonError(f"a key is missing at character {position:,}")
        key, position = _DECODER.raw_decode(text, position)
        position = _expect(_COLON, text, position)
        if key == long_member:
            end = position + long_limit
        elif (end := text.find("}", position) + 1) - position > MAX_MEMBER:
            raise RefusedJsonError(f"the entry {shown(key)} is too long")
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
        raise RefusedJsonError(f"it breaks off or is damaged at character {position:,}")
    return found.end()


def _object_at(text: str, key: str, *, cut: bool) -> tuple[dict[str, Any], int]:
    if not text.startswith("{"):
        raise RefusedJsonError(f"the entry {shown(key)} is not an object")
    try:
        return cast(tuple[dict[str, Any], int], _DECODER.raw_decode(text))
    except RecursionError:
        raise RefusedJsonError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = f"does not end within {len(text):,} characters" if cut else f"is damaged ({error})"
        raise RefusedJsonError(f"the entry {shown(key)} {reason}") from error


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_constant=refuse_constant)
