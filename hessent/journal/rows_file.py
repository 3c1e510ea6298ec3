"""Rows of an array that only grows, in sealed files of those that were new at each save."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hessent.storage.sealed_file import MARK, DamagedFileError, Part, Sealing, content_of, stated_digest
from hessent.storage.whole_file import read_whole, write_whole

_ALIGNMENT = 64  # bytes: rows lie in the file as they lie in memory
_DTYPE = re.compile(r"[<|][bfiuc][0-9]{1,2}")


class GrownRows(Protocol):
    """Rows that are only ever added to."""

    def __len__(self) -> int:
        """Return the number of rows so far."""

    def rows_from(self, first: int) -> Iterator[NDArray[Any]]:
        """Yield the rows from `first` on, in order, in pieces (r, ...)."""


@dataclass(frozen=True)
class RowsFile:
    """One file of rows, as the states that need it refer to it.

    Attributes
    ----------
    first, last : int
        It holds the rows from `first` to before `last`.
    size : int
        Its bytes.
    digest : str
        SHA-256 of its content.
    """

    first: int
    last: int
    size: int
    digest: str


def write_rows(path: Path, rows: GrownRows, first: int) -> RowsFile:
    """Write the rows from `first` on; one piece of them is in memory at a time.

    Raises
    ------
    StorageError
        If they cannot be written.
    ValueError
        If there are not as many as `rows` says, or they differ in shape or type.
    """
    sealing = Sealing(_parts(rows.rows_from(first), len(rows) - first))
    write_whole(path, sealing, follow_link=False)
    return RowsFile(first, len(rows), sealing.size, sealing.digest)


def _parts(pieces: Iterable[NDArray[Any]], count: int) -> Iterator[Part]:
    """Yield a line that says what the rows are, then the rows."""
    kind: tuple[str, tuple[int, ...]] | None = None
    found = 0
    for piece in pieces:
        piece = np.ascontiguousarray(piece)
        if piece.dtype.byteorder == ">":
            piece = piece.astype(piece.dtype.newbyteorder("<"))
        if kind is None:
            kind = (piece.dtype.str, piece.shape[1:])
            line = json.dumps({"dtype": kind[0], "row": kind[1], "rows": count}).encode("ascii")
            yield line.ljust(-(len(line) + 1 + len(MARK)) % _ALIGNMENT + len(line)) + b"\n"
        elif kind != (piece.dtype.str, piece.shape[1:]):
            raise ValueError(f"rows of {piece.dtype} and shape {piece.shape[1:]} follow rows of {kind}")
        found += len(piece)
        if piece.size:
            yield piece.reshape(-1).view(np.uint8).data
    if found != count:
        raise ValueError(f"{found} rows came where {count} were announced")


def read_rows(path: Path, expected: RowsFile) -> NDArray[Any]:
    """Return the rows of a file, shape (r, ...), writable and without a second copy.

    Raises
    ------
    DamagedFileError
        If it is missing or not the one that is expected.
    OSError
        If it cannot be read.
    """
    try:
        sealed = read_whole(path, most=expected.size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedFileError("it is missing") from error
    content = content_of(sealed)
    if stated_digest(sealed) != expected.digest:
        raise DamagedFileError("it is whole, but not the one that belongs to the state")
    end = bytes(content[:4096]).find(b"\n") + 1
    try:
        line = json.loads(bytes(content[:end]))
        count, row = int(line["rows"]), tuple(int(length) for length in line["row"])
        if (
            not _DTYPE.fullmatch(line["dtype"])
            or count != expected.last - expected.first
            or min(row, default=0) < 0
        ):
            raise ValueError("its first line does not fit its name")
        dtype = np.dtype(line["dtype"])
        if count * math.prod(row) * dtype.itemsize != len(content) - end:
            raise ValueError("its first line does not fit its length")
        return np.frombuffer(sealed, dtype, count * math.prod(row), len(MARK) + end).reshape(count, *row)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"it holds no rows: {error}") from error
