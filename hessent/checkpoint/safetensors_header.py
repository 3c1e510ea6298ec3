"""The header of a safetensors file, believed only after it was checked.

Layout: 8 bytes, the header's length N as a little-endian integer; N bytes of JSON, one entry
`{"dtype", "shape", "data_offsets": [begin, end]}` per tensor and text under `__metadata__`; then the data, to which
the offsets are relative.  A valid file's ranges cover the data exactly: no gap, no overlap, nothing after the last.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from hessent.checkpoint.element_types import ELEMENT_BYTES, MAX_TENSORS, TensorInfo
from hessent.checkpoint.listing import capped, shown
from hessent.checkpoint.regular_file import refuse_pointer
from hessent.checkpoint.strict_json import members
from hessent.errors import CheckpointError
from hessent.foreign.strict_json import MAX_BYTES

MAX_METADATA = 2**20
MAX_DIMENSIONS = 64
LENGTH_BYTES = 8
METADATA_KEY = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}


class Entry(NamedTuple):
    """One tensor of a file: what it is, and its bytes relative to the start of the data."""

    info: TensorInfo
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header.

    Attributes
    ----------
    entries : mapping of str to Entry
        In the order of the data.
    metadata : mapping of str to str
        The text metadata.
    data_start : int
        Position of the first data byte in the file.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    data_start: int


def read_header(handle: BinaryIO, size: int, where: str) -> Header:
    """Read and check the header at the start of a file.

    Parameters
    ----------
    handle : BinaryIO
        At position 0.
    size : int
        Size of the whole file, bytes.
    where : str
        The file, for messages.

    Returns
    -------
    Header
        Every range lies inside the file and fits its shape and type.

    Raises
    ------
    CheckpointError
        Anything is wrong; of the tensors, all that are wrong are named.
    """
    start = handle.read(LENGTH_BYTES)
    refuse_pointer(start, where)
    if len(start) < LENGTH_BYTES:
        raise _damaged(f"the file has only {size} bytes", "at least 8 bytes of header length", where)
    (length,) = struct.unpack("<Q", start)
    if length > MAX_BYTES:
        raise _damaged(
            f"the header claims {length:,} bytes",
            f"a safetensors file with a header of at most {MAX_BYTES:,}",
            where,
        )
    if length > size - LENGTH_BYTES:
        raise _damaged(
            f"the file ends inside its header ({size:,} bytes in all)",
            f"{LENGTH_BYTES + length:,} bytes of header alone",
            where,
        )
    raw = handle.read(length)
    if not raw.startswith(b"{"):
        raise _damaged("the header does not begin with '{'", "a safetensors file", where)
    return parse_header(raw, size - LENGTH_BYTES - length, where)


def parse_header(raw: bytes, data_size: int, where: str) -> Header:
    """Check the JSON of a header against the number of data bytes that follow it.

    Raises
    ------
    CheckpointError
        Anything is wrong; of the tensors, all that are wrong are named.
    """
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] | None = None
    problems: list[str] = []
    try:
        for name, fields in members(raw.decode("utf-8"), METADATA_KEY, MAX_METADATA):
            if name == METADATA_KEY and metadata is None:
                metadata = _metadata(fields)
            elif name in entries or name == METADATA_KEY:
                problems.append(f"{shown(name)} stands there twice")
            elif len(entries) == MAX_TENSORS:
                raise ValueError(f"it lists more than {MAX_TENSORS:,} tensors")
            else:
                entries[name] = _entry(name, fields, problems)
    except ValueError as error:
        raise _damaged(f"the header cannot be taken: {error}", "the header of a safetensors file", where) from error
    if problems:
        raise CheckpointError(
            f"{len(problems):,} of {len(entries):,} tensors are described wrongly",
            where=where,
            problems=capped(problems),
            fix=_FIX,
        )
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    _require_cover(ordered, data_size, where)
    return Header(ordered, metadata or {}, LENGTH_BYTES + len(raw))


_FIX = "fetch or save the file again: it is cut off, damaged or was never complete"


def _damaged(found: str, expected: str, where: str) -> CheckpointError:
    return CheckpointError(found, where=where, expected=expected, fix=_FIX)


def _metadata(found: dict[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError("the metadata is not text to text")
    return found


def _entry(name: str, fields: dict[str, Any], problems: list[str]) -> Entry:
    try:
        return _checked_entry(fields)
    except ValueError as error:
        problems.append(f"{shown(name)}: {error}")
        return Entry(TensorInfo((), "U8"), 0, 0)  # holds the name's place while the others are looked at


def _checked_entry(fields: dict[str, Any]) -> Entry:
    if fields.keys() != _FIELDS:
        raise ValueError("an entry needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_BYTES:
        raise ValueError(f"the dtype {shown(str(dtype))} is not one of {', '.join(ELEMENT_BYTES)}")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"the shape is not a list of at most {MAX_DIMENSIONS} non-negative integers")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError("data_offsets is not [begin, end] with 0 ≤ begin ≤ end")
    info = TensorInfo(tuple(shape), dtype)
    begin, end = offsets
    expected = info.num_elements * ELEMENT_BYTES[dtype]
    if expected != end - begin:
        raise ValueError(f"{dtype} {list(shape)} takes {expected:,} bytes, its range has {end - begin:,}")
    return Entry(info, begin, end)


def _are_sizes(found: Any) -> bool:
    if not isinstance(found, list):
        return False
    for number in found:  # a plain loop: this runs up to 400,000 times  # noqa: SIM110
        if type(number) is not int or not 0 <= number < 2**63:
            return False
    return True


def _require_cover(entries: Mapping[str, Entry], data_size: int, where: str) -> None:
    position = 0
    for name, entry in entries.items():
        if entry.begin != position:
            kind = "overlaps the tensor before it" if entry.begin < position else "leaves a gap before it"
            raise _damaged(
                f"{shown(name)} {kind} (it begins at {entry.begin:,})", f"a begin of {position:,}", where
            )
        position = entry.end
    if position != data_size:
        kind = "ends too early" if position > data_size else "has bytes that belong to no tensor"
        raise _damaged(f"the file {kind}: {data_size:,} bytes of data", f"{position:,} as the header says", where)
