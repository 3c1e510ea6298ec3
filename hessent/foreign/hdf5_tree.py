"""`read_tree`: all that a small HDF5 file holds, as plain data: groups, texts and numbers, arrays.

The caller compares it with its schema.  Whatever stands in the file and is of a kind that trees do not have (links,
named types, strings of variable length, arrays packed in unusual ways) is kept as a clause that says what it is, in
case somebody asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hessent.foreign.hdf5_process import SECONDS, Task, UnreadableError, array_at, conversation

Take = Callable[[int], bytearray]

_TYPES: Mapping[str, np.dtype[Any]] = {"<f8": np.dtype("<f8"), "<i8": np.dtype("<i8"), "|u1": np.dtype("u1")}
# Numbers hardly shrink when they are packed.  Small files may hold what the first term allows whatever their size.
FREE_BYTES = 64 * 2**20
MOST_EXPANSION = 2
MOST_BYTES = 384 * 2**20
_SECONDS_PER_BYTE = 1e-6  # a file of many small arrays takes longest for its size
_MOST_PADDING = 2**25  # the documents, which have a limit of their own, and a few bytes behind each array


@dataclass(frozen=True)
class StoredAttribute:
    """An attribute of a group.

    Attributes
    ----------
    kind : str
        "S" text, "b" flag, "i" or "u" whole number, "f" real, "?" anything else.
    dtype : str
        Its type in words, for messages.
    shape : tuple of int
        Empty for a single value.
    value : object
        Text (as letters, whatever the bytes were), a number, a list of them; None where there is none.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    value: Any


@dataclass(frozen=True, eq=False)
class StoredArray:
    """A dataset: its values, or why there are none.

    Attributes
    ----------
    dtype : str
        In words, for messages.
    shape : tuple of int
        As declared.
    values : NDArray or None
        float64, int64 or uint8.
    problem : str or None
        Why it was not read, as a clause.
    """

    dtype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | None
    problem: str | None = None


@dataclass(frozen=True)
class Nothing:
    """A member that is neither a group nor an array, or could not be opened."""

    problem: str


@dataclass(frozen=True)
class StoredGroup:
    """A group with all that is in it."""

    attributes: Mapping[str, StoredAttribute]
    members: Mapping[str, StoredGroup | StoredArray | Nothing]


def allowance(size: int) -> int:
    """Return how many bytes the arrays of a file of `size` bytes may unpack to."""
    return min(FREE_BYTES + MOST_EXPANSION * size, MOST_BYTES)


def read_tree(source: BinaryIO | bytes, size: int) -> StoredGroup:
    """Read an HDF5 file in a process of its own.

    Parameters
    ----------
    source : binary file or bytes
        The file, opened, or its content.
    size : int
        Bytes of it.

    Returns
    -------
    StoredGroup
        The root.

    Raises
    ------
    UnreadableError
        If the file is damaged or hostile.
    """
    unpacked = allowance(size)
    # The child holds all arrays, once more what is being unpacked, and twice a file that is not on a disk.
    task = Task(None, 2 * (unpacked + size), unpacked, SECONDS + _SECONDS_PER_BYTE * size)
    with conversation(source, task) as (header, take):
        try:
            return _built(header["groups"], take, unpacked)
        except UnreadableError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise UnreadableError("the process that read it did not answer in its language") from error


def _built(groups: list[Any], take: Take, budget: int) -> StoredGroup:
    """Put the groups of an answer into each other, the innermost first: each lies behind the one that it is in."""
    arrays = _arrays(groups, take, budget)
    built: dict[int, StoredGroup] = {}
    for index, group in reversed(list(enumerate(groups))):
        members: dict[str, StoredGroup | StoredArray | Nothing] = {}
        for name, (kind, *rest) in group["members"].items():
            members[name] = built[rest[0]] if kind == "group" else arrays.get((index, name)) or _unread(kind, *rest)
        attributes = {name: _attribute(*fields) for name, fields in group["attributes"].items()}
        built[index] = StoredGroup(attributes, members)
    return built[0]


def _arrays(groups: list[Any], take: Take, budget: int) -> dict[tuple[int, str], StoredArray]:
    """Take the values of all arrays at once; each begins at a multiple of eight bytes."""
    places, end = {}, 0
    for index, group in enumerate(groups):
        for name, (kind, *rest) in group["members"].items():
            if kind == "array":
                dtype, shape = _TYPES[rest[0]], _shape(rest[1])
                places[index, name] = (end, dtype, shape)
                size = math.prod(shape) * dtype.itemsize
                end += size + -size % 8
                if end > budget + _MOST_PADDING:
                    raise IndexError(end)
    content = take(end)
    return {
        key: StoredArray(str(dtype), shape, array_at(content, begin, dtype, shape))
        for key, (begin, dtype, shape) in places.items()
    }


def _unread(kind: str, *rest: Any) -> StoredArray | Nothing:
    if kind == "nothing":
        return Nothing(str(rest[0]))
    dtype, lengths, problem = rest
    return StoredArray(str(dtype), _shape(lengths), None, str(problem))


def _shape(lengths: list[int]) -> tuple[int, ...]:
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise TypeError(lengths)
    return tuple(lengths)


def _attribute(kind: str, dtype: str, shape: list[int], value: Any) -> StoredAttribute:
    return StoredAttribute(str(kind), str(dtype), _shape(shape), value)
