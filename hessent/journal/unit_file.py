"""A finished block as bytes: laid out and checked as in a spectrum file, but without the HDF5 library.

The writer of spectrum files writes the block into groups that only note what they are given; the notes, a line of
JSON and the bytes of the arrays, are sealed.  Reading them back gives the same groups to the same guarded reader.
So every number comes back bit for bit, and it does not show in the final file whether a block was computed by the
process that writes it.  (Every HDF5 file is opened in a process of its own, which costs more than a small block.)
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hessent.errors import SpectrumFileError
from hessent.foreign.hdf5_tree import Nothing, StoredArray, StoredAttribute, StoredGroup
from hessent.spectra.hdf5_block_writer import write_block
from hessent.spectra.hdf5_blocks import read_block
from hessent.spectra.hdf5_guard import GuardedGroup
from hessent.spectra.model import BlockSpectrum
from hessent.storage.sealed_file import DamagedFileError, content_of, seal
from hessent.storage.whole_file import read_whole, write_whole

_BLOCK = "block"
_MOST_BYTES = 1 << 28
_DTYPES = ("<f8", "<i8", "|u1")


def write_unit(path: Path, unit: str, block: BlockSpectrum) -> None:
    """Write the file of a finished unit.

    Raises
    ------
    StorageError
        If it cannot be written.
    ValueError
        See `block_to_bytes`.
    """
    write_whole(path, block_to_bytes(unit, block), follow_link=False)


def read_unit(path: Path, unit: str) -> BlockSpectrum | None:
    """Return the block in the file of a finished unit; None if there is no such file.

    Raises
    ------
    DamagedFileError
        If it is not what was written.
    OSError
        If it cannot be read.
    """
    try:
        sealed = read_whole(path, most=_MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return block_from_bytes(unit, sealed)


def block_to_bytes(unit: str, block: BlockSpectrum) -> bytes:
    """Return the sealed bytes of a finished unit.

    Raises
    ------
    ValueError
        If the block holds what a spectrum file cannot hold (numbers that are not finite, arrays that do not fit).
    """
    notes = _NotedGroup()
    write_block(notes, _BLOCK, block)
    arrays: list[bytes] = []
    line = json.dumps({"unit": unit, "block": notes.members[_BLOCK].described(arrays)})
    content = b"".join([line.encode("ascii"), b"\n", *arrays])
    try:
        _parsed(unit, memoryview(content))
    except SpectrumFileError as error:
        raise ValueError(f"the block '{block.name}' cannot be kept: {error.found}") from error
    return seal(content)


def block_from_bytes(unit: str, sealed: bytes | bytearray) -> BlockSpectrum:
    """Return the block of a finished unit.

    Raises
    ------
    DamagedFileError
        If the bytes are not those of that unit.
    """
    content = content_of(sealed)
    try:
        return _parsed(unit, content)
    except SpectrumFileError as error:
        raise DamagedFileError(f"it is whole, but holds no block: {error.found}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"it is whole, but not a finished unit: {error}") from error


class _NotedGroup:
    """What the writer of spectrum files asks of a group, noted."""

    def __init__(self) -> None:
        self.attrs: dict[str, Any] = {}
        self.members: dict[str, Any] = {}

    def create_group(self, name: str) -> _NotedGroup:
        group = self.members[name] = _NotedGroup()
        return group

    def create_dataset(self, name: str, *, data: NDArray[Any], **_packing: Any) -> None:
        self.members[name] = data

    def described(self, arrays: list[bytes]) -> dict[str, Any]:
        """Return the group as JSON, and append the bytes of its arrays."""
        members: dict[str, Any] = {}
        for name, member in self.members.items():
            if isinstance(member, _NotedGroup):
                members[name] = member.described(arrays)
            else:
                members[name] = [member.dtype.str, member.shape]
                arrays.append(member.tobytes())
        attributes = {name: _described(np.asarray(value)) for name, value in self.attrs.items()}
        return {"attributes": attributes, "members": members}


def _described(value: NDArray[Any]) -> list[Any]:
    plain = bytes(value[()]).decode("ascii") if value.dtype.kind == "S" else value.tolist()
    return [value.dtype.kind, value.shape, plain]


def _parsed(unit: str, content: memoryview) -> BlockSpectrum:
    raw = bytes(content)
    line, _, arrays = raw.partition(b"\n")
    document = json.loads(line)
    if document["unit"] != unit:
        raise ValueError(f"it is unit {document['unit']}")
    group, end = _group(document["block"], arrays, 0)
    if end != len(arrays):
        raise ValueError(f"it has {len(arrays):,} bytes of arrays where {end:,} are described")
    return read_block(GuardedGroup(group, where=unit, inside=f"/{_BLOCK}"))


def _group(described: dict[str, Any], arrays: bytes, position: int) -> tuple[StoredGroup, int]:
    """Return a group as the reader of HDF5 files would, and where its arrays end."""
    attributes = {
        name: StoredAttribute(str(kind), str(kind), tuple(shape), value)
        for name, (kind, shape, value) in described["attributes"].items()
    }
    members: dict[str, StoredGroup | StoredArray | Nothing] = {}
    for name, member in described["members"].items():
        if isinstance(member, dict):
            members[name], position = _group(member, arrays, position)
        else:
            values = _array(member, arrays, position)
            members[name] = StoredArray(str(values.dtype), values.shape, values)
            position += values.nbytes
    return StoredGroup(attributes, members), position


def _array(described: list[Any], arrays: bytes, position: int) -> NDArray[Any]:
    name_of_type, shape = described[0], tuple(described[1])
    if name_of_type not in _DTYPES or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"it describes an array of type {name_of_type} and shape {shape}")
    values = np.frombuffer(arrays, name_of_type, math.prod(shape), position)
    return values.reshape(shape).copy()  # each array by itself, aligned and writable
