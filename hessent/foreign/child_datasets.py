"""HDF5 datasets in the process that reads hostile files: which are read, and how those at the root are sent."""

from __future__ import annotations

import sys
from typing import Any

import h5py
import numpy as np

from hessent.foreign.child_limits import Patience, RefusedError

MOST_OBJECTS = 100_000
MOST_CHUNK_BYTES = 2**30
SLICE_BYTES = 16 * 2**20
SECONDS_PER_BYTE = 5e-8  # of computing that unpacking may take
PLAIN_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
MORE_FILTERS = {*PLAIN_FILTERS, h5py.h5z.FILTER_SZIP, h5py.h5z.FILTER_LZF}
# What h5py raises on a damaged or hostile file that it survives.
FAILURES = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError, NotImplementedError)


def text(raw: bytes) -> str:
    """Return bytes as letters that JSON can hold and that lead back to the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def number_of(shape: tuple[int, ...] | None) -> int:
    """Return the number of entries, in integers that do not overflow."""
    count = 1
    for length in shape or ():
        count *= length
    return count


def chunk_bytes(found: Any, dtype: Any) -> int:
    """Return the bytes of one chunk of a dataset once it is unpacked; 0 where it has none."""
    plan = found.get_create_plist()
    return number_of(plan.get_chunk()) * dtype.itemsize if plan.get_layout() == h5py.h5d.CHUNKED else 0


def problem_with(found: Any, chunk: int, filters: set[int]) -> str | None:
    """Return why the values of a dataset, whose chunks have so many bytes, are not read, or None."""
    plan = found.get_create_plist()
    used = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        return "is a virtual dataset: its values lie in other files"
    if plan.get_external_count():
        return "keeps its values in other files"
    if not used <= filters:
        return f"is packed with filters {sorted(used - filters)}, which are not read here"
    if found.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return "has no shape"
    if chunk > MOST_CHUNK_BYTES:
        return f"has chunks of {chunk:,} bytes, above 1 GiB each"
    return None


def roots(root: Any, wanted: list[str]) -> tuple[dict[str, Any], list[Any]]:
    """Return the header to send, and the datasets whose bytes follow it."""
    if root.get_num_objs() > MOST_OBJECTS:
        raise RefusedError(f"it holds more than {MOST_OBJECTS:,} groups and arrays")
    keys, problems, found = [], [], {}
    for name in root:
        key = text(name)
        if root.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            if key in wanted:
                problems.append(f"'{key}' is a link that leads elsewhere")
            continue
        keys.append(key)
        if key in wanted:
            member = h5py.h5o.open(root, name)
            is_array = isinstance(member, h5py.h5d.DatasetID)
            problem = problem_of_numbers(member) if is_array else "is a group or a type, not an array"
            if problem:
                problems.append(f"'{key}' {problem}")
            found[key] = member
    if problems:
        raise RefusedError(*problems)
    arrays = {
        key: [found[key].dtype.newbyteorder("=").str, list(found[key].shape), found[key].get_storage_size()]
        for key in wanted
        if key in found
    }
    return {"keys": keys, "arrays": arrays}, [found[key] for key in arrays]


def problem_of_numbers(found: Any) -> str | None:
    """Return why a dataset does not hold numbers that are read, or None."""
    dtype = found.dtype
    if dtype.kind not in "fiu" or dtype.subdtype:
        return f"has type {dtype}; arrays of numbers are read"
    return problem_with(found, chunk_bytes(found, dtype), MORE_FILTERS)


def send(found: Any, patience: Patience) -> None:
    """Write a dataset's values to standard output, a bounded slice at a time."""
    dataset = h5py.Dataset(found)
    native = dataset.dtype.newbyteorder("=")
    patience.extend(SECONDS_PER_BYTE * dataset.size * dataset.dtype.itemsize)
    if not dataset.size:
        return
    if dataset.ndim == 0:
        sys.stdout.buffer.write(np.asarray(dataset[()], dtype=native).tobytes())
        return
    row_bytes = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
    rows = max(1, SLICE_BYTES // row_bytes)
    if dataset.chunks:  # whole chunks at a time, or each is unpacked more than once
        rows = -(-rows // dataset.chunks[0]) * dataset.chunks[0]
    for first in range(0, len(dataset), rows):
        sys.stdout.buffer.write(np.ascontiguousarray(dataset[first : first + rows], dtype=native).tobytes())
