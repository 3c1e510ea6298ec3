"""The process that opens an HDF5 file of unknown origin; `hdf5_arrays.py` starts it and talks to nobody else.

    python -P hdf5_child.py FILE KEY…

Standard output: one line of JSON, then the bytes of the arrays it lists, in that order, native and C-contiguous.
Only hard links at the root are followed; datasets whose values lie in other files are refused.  This file imports
nothing of hessent: it must start at once and hold nothing worth losing.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import h5py
import numpy as np

_SLICE_BYTES = 16 * 2**20
_MOST_CHUNK_BYTES = 2**30
_MOST_MEMORY = 8 * 2**30
_KNOWN_FILTERS = (
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_LZF,
)


def problem_with(dataset: h5py.Dataset) -> str | None:
    """Return why a dataset is not read, or None."""
    layout = dataset.id.get_create_plist()
    filters = [layout.get_filter(index)[0] for index in range(layout.get_nfilters())]
    if dataset.is_virtual:
        return "is a virtual dataset: its values lie in other files"
    if layout.get_external_count():
        return "keeps its values in other files"
    if any(number not in _KNOWN_FILTERS for number in filters):
        return f"is compressed by filters {filters}; gzip, lzf and szip are read"
    if dataset.shape is None or dataset.dtype.kind not in "fiu" or dataset.dtype.subdtype:
        return f"has type {dataset.dtype} and shape {dataset.shape}; arrays of numbers are read"
    if dataset.chunks and int(np.prod(dataset.chunks, dtype=float)) * dataset.dtype.itemsize > _MOST_CHUNK_BYTES:
        return f"has chunks of shape {dataset.chunks}, above 1 GiB each"
    return None


def send(dataset: h5py.Dataset) -> None:
    """Write a dataset's values to standard output, a bounded slice at a time."""
    native = dataset.dtype.newbyteorder("=")
    if not dataset.size:
        return
    if dataset.ndim == 0:
        sys.stdout.buffer.write(np.asarray(dataset[()], dtype=native).tobytes())
        return
    row_bytes = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
    rows = max(1, _SLICE_BYTES // row_bytes)
    if dataset.chunks:  # whole chunks at a time, or each is unpacked more than once
        rows = -(-rows // dataset.chunks[0]) * dataset.chunks[0]
    for first in range(0, len(dataset), rows):
        sys.stdout.buffer.write(np.ascontiguousarray(dataset[first : first + rows], dtype=native).tobytes())


def answer(file: h5py.File, wanted: list[str]) -> tuple[dict[str, Any], list[h5py.Dataset]]:
    """Return the header to send, and the datasets whose bytes follow it."""
    keys, problems, datasets = [], [], []
    for key in file:
        if isinstance(file.get(key, getlink=True), h5py.HardLink):
            keys.append(key)
        elif key in wanted:
            problems.append(f"'{key}' is a link to somewhere else")
    for key in (key for key in wanted if key in keys):
        found = file[key]
        problem = problem_with(found) if isinstance(found, h5py.Dataset) else "is a group"
        if problem:
            problems.append(f"'{key}' {problem}")
        else:
            datasets.append(found)
    if problems:
        return {"problems": problems}, []
    sizes = {d.name[1:]: (d.dtype.newbyteorder("=").str, d.shape, d.id.get_storage_size()) for d in datasets}
    return {"keys": keys, "arrays": sizes}, datasets


def main(path: str, wanted: list[str]) -> None:
    """Answer for one file."""
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    with h5py.File(path, "r", locking=False) as file:
        header, datasets = answer(file, wanted)
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
        sys.stdout.buffer.flush()
        for dataset in datasets:
            send(dataset)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
