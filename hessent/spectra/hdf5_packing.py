"""Putting text, numbers, documents and arrays into HDF5 groups, packed as SPEC.md says."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hessent.spectra import encoding
from hessent.spectra.encoding import Encoding

# Long arrays are cut into chunks of 1 MiB, so that a reader never has to hold more than one packed chunk.
_CHUNK_ENTRIES = 1 << 17

_STORED_TYPES = {"f": "<f8", "i": "<i8", "u": "|u1"}  # reals, counts, bytes of text


def new_group(parent: h5py.Group, name: str, kind: Encoding) -> h5py.Group:
    """Return a new group called `name`, marked with its type and version."""
    group = parent.create_group(name)
    mark(group, kind)
    return group


def mark(group: h5py.Group, kind: Encoding) -> None:
    """Write the type and version of a group."""
    group.attrs[encoding.TYPE_ATTRIBUTE] = np.bytes_(kind[0])
    group.attrs[encoding.VERSION_ATTRIBUTE] = np.bytes_(kind[1])


def put(group: h5py.Group, **attributes: str | bool | int | float) -> None:
    """Write attributes: text, flags, integers and reals."""
    for name, value in attributes.items():
        group.attrs[name] = encoding.encode_text(value) if isinstance(value, str) else value


def write_json(group: h5py.Group, name: str, document: Any) -> None:
    """Store a document as the bytes of strict JSON."""
    _write_array(group, name, np.frombuffer(encoding.encode_json(document), dtype=np.uint8))


def write_arrays(group: h5py.Group, **arrays: NDArray[Any] | None) -> None:
    """Store the arrays that are there."""
    for name, array in arrays.items():
        if array is not None:
            _write_array(group, name, array)


def _write_array(group: h5py.Group, name: str, array: NDArray[Any]) -> None:
    """Store `array` little-endian, packed and with a checksum; an empty one has no bytes to pack."""
    array = array.astype(_STORED_TYPES[array.dtype.kind])
    packing: dict[str, Any] = {}
    if array.size:
        packing = {"chunks": _chunks(array.shape), "compression": "gzip", "shuffle": True, "fletcher32": True}
    group.create_dataset(name, data=array, track_times=False, **packing)


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the pieces in which an array is packed: whole rows, as many as fit."""
    room, lengths = _CHUNK_ENTRIES, []
    for length in reversed(shape):
        lengths.append(min(length, room))
        room = max(1, room // lengths[-1])
    return tuple(reversed(lengths))
