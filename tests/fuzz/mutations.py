"""What fuzzing does to bytes and to trees: strategies that every kind of file shares.

A tree is a JSON document whose objects are `Members`, pairs that may repeat a key, and in which `Raw` stands for
text that is put there as it is: a number of 5,000 digits, NaN, a thousand brackets.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


class Members(list[tuple[str, Any]]):
    """A JSON object as pairs; keys may repeat."""


class Raw(str):
    """Text that stands in a document as it is."""

    __slots__ = ()


ODD_INTEGERS = (-1, 0, 1, 2, 3, 7, 255, 2**31, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400)
ODD_TEXTS = (
    "",
    "x",
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "\u202eturned",
    "[/red]",
    "nul\0",
    "../outside.safetensors",
    "/etc/hostname",
    "outside.py:factory",
    "os:system",
    "a" * 3000,
    "Ω" * 300,
    "nan",
    "-1",
    "1e999",
    "9" * 400,
)
ODD_RAW = tuple(
    Raw(text)
    for text in (
        *(
            "NaN",
            "-Infinity",
            "1e999",
            "-0",
            "0.5",
            "1E400",
            "1" * 5000,
            '"\\ud800"',
            '"\\ud800\\udc00"',
            "truth",
            "",
        ),
        *("[" * depth + "]" * depth for depth in (3, 300, 990, 100_000)),
        *('{"a":' * depth + "1" + "}" * depth for depth in (3, 300, 990, 100_000)),
        "[" + "0," * 60_000 + "0]",
    )
)
ODD_PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0.5, 1e308, -1.0, [], Members(), [[]], [1, 2], ["a", 1], Members([("a", 1)])),
)
# Every group is as likely as the others, however many it has.
odd_values: SearchStrategy[Any] = st.one_of(*map(st.sampled_from, (ODD_PLAIN, ODD_INTEGERS, ODD_TEXTS, ODD_RAW)))
odd_texts: SearchStrategy[str] = st.sampled_from(ODD_TEXTS) | st.text(max_size=12)
odd_integers: SearchStrategy[int] = st.sampled_from(ODD_INTEGERS) | st.integers(-5, 300)


def tree(document: Any) -> Any:
    """Turn dictionaries into `Members`, all the way down."""
    if isinstance(document, dict):
        return Members((key, tree(value)) for key, value in document.items())
    if isinstance(document, list | tuple) and not isinstance(document, Members):
        return [tree(value) for value in document]
    return document


def written(document: Any) -> str:
    """Write a tree as text; not always JSON."""
    if isinstance(document, Raw):
        return str(document)
    if isinstance(document, Members):
        return "{" + ",".join(f"{json.dumps(key)}:{written(value)}" for key, value in document) + "}"
    if isinstance(document, list):
        return "[" + ",".join(written(value) for value in document) + "]"
    return json.dumps(document) if not isinstance(document, int) or abs(document) < 2**64 else str(document)


_LIKE_IT: tuple[tuple[type, SearchStrategy[Any]], ...] = (
    (bool, st.booleans()),
    (int, odd_integers),
    (float, st.sampled_from((0.0, -1.0, 1e308, 1e-310, Raw("1e999"), Raw("-1E400"), 3.5, 1e17)) | st.floats()),
    (str, odd_texts),
)


def like(value: Any) -> SearchStrategy[Any]:
    """Odd values of the same type, which pass a check of types."""
    return next((found for kind, found in _LIKE_IT if isinstance(value, kind)), odd_values)


Path = tuple[int, ...]


def _paths(document: Any, here: Path = ()) -> list[Path]:
    """All places in a tree, the root first."""
    found = [here]
    if isinstance(document, Members):
        for index, (_, value) in enumerate(document):
            found += _paths(value, (*here, index))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            found += _paths(value, (*here, index))
    return found


def _always(new: Any, _: Any) -> Any:
    return new


def _at(document: Any, path: Path) -> Any:
    for index in path:
        document = document[index][1] if isinstance(document, Members) else document[index]
    return document


def _changed(document: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """Return the tree with `change` applied to the list of entries that holds the place, and its index."""
    if not path:
        return change(document)
    copy = type(document)(document)
    index = path[0]
    if isinstance(document, Members):
        key, value = document[index]
        copy[index] = (key, _changed(value, path[1:], change))
    else:
        copy[index] = _changed(document[index], path[1:], change)
    return copy


@st.composite
def changed_tree(draw: st.DrawFn, document: Any, values: SearchStrategy[Any] = odd_values, most: int = 3) -> Any:
    """A tree in which up to `most` places were given another value, repeated, renamed, moved or left out."""
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(_paths(document)))
        kind = draw(st.sampled_from(("like", "like", "replace", "replace", "remove", "repeat", "rename", "swap")))
        if kind in ("like", "replace") or not path:
            new = draw(like(_at(document, path)) if kind == "like" and path else values)
            document = _changed(document, path, functools.partial(_always, new))
            continue
        other = draw(st.integers(0, 5))
        name = draw(odd_texts) if kind == "rename" else ""
        document = _changed(document, path[:-1], _rearranged(kind, path[-1], other, name))
    return document


def _rearranged(kind: str, index: int, other: int, name: str) -> Callable[[Any], Any]:
    def change(entries: Any) -> Any:
        copy = type(entries)(entries)
        if kind == "remove":
            del copy[index]
        elif kind == "repeat":
            copy.insert(index, copy[index])
        elif kind == "swap":
            other_index = other % len(copy)
            copy[index], copy[other_index] = copy[other_index], copy[index]
        elif isinstance(copy, Members):
            copy[index] = (name, copy[index][1])
        return copy

    return change


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3, near: Sequence[int] = ()) -> bytes:
    """Bytes of which some were changed, left out, repeated, or cut off; `near` are places worth trying."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        if not changed:
            break
        somewhere = st.integers(0, len(changed) - 1)
        close = [place for place in near if 0 <= place < len(changed)]
        place = draw(st.sampled_from(close) | somewhere if close else somewhere)
        kind = draw(st.sampled_from(("set", "set", "set", "flip", "cut", "remove", "repeat", "insert", "fill")))
        length = draw(st.integers(1, 32))
        if kind == "set":
            changed[place] = draw(st.integers(0, 255))
        elif kind == "flip":
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[place:]
        elif kind == "remove":
            del changed[place : place + length]
        elif kind == "repeat":
            changed[place:place] = changed[place : place + length]
        elif kind == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=8))
        else:
            changed[place : place + length] = bytes([draw(st.sampled_from((0, 255)))]) * len(
                changed[place : place + length]
            )
    return bytes(changed)
