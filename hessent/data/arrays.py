"""`arrays:FILE`: inputs and targets in one safetensors, npz or HDF5 file, under the keys x and y.

How shapes and types are understood stands in `array_pair.py`.  Keys x_test and y_test, where present, are the split
"test".  No format is read in a way that could run code: npz without pickles, HDF5 in a process of its own.
"""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from hessent.data.array_pair import dataset_of_arrays
from hessent.data.dataset import Dataset
from hessent.data.hdf5_arrays import read_hdf5
from hessent.data.request import DataRequest
from hessent.data.source_file import SourceFile, refuse_bomb
from hessent.errors import DataError, suggest

_MOST_HEADER_BYTES = 16 * 2**20  # of a safetensors file; a pair of arrays needs some hundred bytes
_MOST_KEYS = 10_000
_NPZ_FAILURES = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,  # from headers that numpy tries to understand as those of Python 2
    struct.error,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    OverflowError,
)


def open_arrays(request: DataRequest) -> Dataset:
    """Return the samples of an arrays file.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another kind, or lacks a key.
    """
    source = SourceFile.at(Path(request.path), request.name)
    reader = _READERS.get(source.path.suffix.lower())
    if reader is None:
        raise DataError(
            f"'{source.path.suffix}' is not a format of arrays", where=request.name, expected=", ".join(_READERS)
        )
    wanted = (request.parameters["x"], request.parameters["y"])
    if request.split == "test":
        wanted = ("x_test", "y_test")
    keys, arrays = reader(source, wanted, request.name)
    source.check_unchanged(request.name)
    _require(wanted, keys, request)
    there = {"train"} | ({"test"} if {"x_test", "y_test"} <= set(keys) else set())
    return dataset_of_arrays(
        arrays[wanted[0]],
        arrays[wanted[1]],
        name=request.name,
        split=request.split,
        splits=tuple(split for split in request.splits if split in there),
        classes=request.parameters["classes"],
        normalize=request.parameters["normalize"],
        layout=request.parameters["layout"],
    )


def _require(wanted: Iterable[str], keys: Iterable[str], request: DataRequest) -> None:
    present = sorted(keys)
    missing = [key for key in wanted if key not in present]
    if not missing:
        return
    hints = [f"there is no '{key}'" + (f"; {near}" if (near := suggest(key, present)) else "") for key in missing]
    listed = ", ".join(repr(key) for key in present[:20]) or "none"
    raise DataError(
        f"the split '{request.split}' is not in the file; its keys: {listed}",
        where=request.name,
        problems=hints,
        fix="name the keys: ?x=KEY&y=KEY" if request.split == "train" else "store the keys x_test and y_test",
    )


def _read_safetensors(source: SourceFile, wanted: Iterable[str], where: str) -> tuple[list[str], Mapping[str, Any]]:
    with source.open(where) as file:
        head = file.read(8)
    if len(head) < 8 or struct.unpack("<Q", head)[0] > min(_MOST_HEADER_BYTES, source.size - 8):
        raise _damaged("a safetensors file", "its header does not fit", where)
    try:
        with safe_open(source.path, framework="pt", device="cpu") as file:
            keys = list(file.keys())
            # Cloned: the file stays mapped otherwise, and one cut short under a map ends the process.
            return keys, {key: file.get_tensor(key).clone() for key in wanted if key in keys}
    except (SafetensorError, OSError, ValueError) as failure:
        raise _damaged("a safetensors file", str(failure), where) from failure


def _read_npz(source: SourceFile, wanted: Iterable[str], where: str) -> tuple[list[str], Mapping[str, Any]]:
    with source.open(where) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()[:_MOST_KEYS]
                keys = [member.filename.removesuffix(".npy") for member in members]
                chosen = [member for member, key in zip(members, keys, strict=True) if key in set(wanted)]
                return keys, {m.filename.removesuffix(".npy"): _read_npy(archive, m, where) for m in chosen}
        except _NPZ_FAILURES as failure:
            raise _damaged("an npz file", str(failure), where) from failure


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> np.ndarray[Any, Any]:
    """Read one array, its header before its bytes: what it declares must be what the archive holds."""
    refuse_bomb(member.file_size, member.compress_size, f"the array '{member.filename}'", where)
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"version {version} of the npy format")
        shape, fortran, dtype = read_header[version](stream)
        if dtype.hasobject:
            raise DataError(
                f"'{member.filename}' holds Python objects, which only a pickle could read",
                where=where,
                expected="arrays of numbers",
                fix="save them with a numeric dtype, all samples of one shape",
            )
        count = math.prod(shape)
        if stream.tell() + count * dtype.itemsize != member.file_size:
            raise ValueError(f"'{member.filename}' declares {shape} {dtype}, but holds {member.file_size:,} bytes")
        array = np.frombuffer(stream.read(), dtype=dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _damaged(what: str, reason: str, where: str) -> DataError:
    return DataError(f"not readable as {what}: {reason}", where=where, fix="write the file again")


_READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}
