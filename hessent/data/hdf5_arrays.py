"""HDF5 files are read in a process of their own: a damaged one makes the library crash or hang.

`hdf5_child.py` opens the file there, checks it, and writes what was asked for to its standard output; this side
waits no longer than the size of the data justifies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from hessent.data.source_file import SourceFile, refuse_bomb
from hessent.errors import DataError

_CHILD = Path(__file__).with_name("hdf5_child.py")
_SECONDS_TO_OPEN = 30.0
_BYTES_PER_SECOND = 4e6  # slower than any disk that data is kept on
_MOST_HEADER_BYTES = 2**20


def read_hdf5(
    source: SourceFile, wanted: Iterable[str], where: str
) -> tuple[list[str], Mapping[str, np.ndarray[Any, Any]]]:
    """Read datasets at the root of an HDF5 file.

    Parameters
    ----------
    source : SourceFile
        The file.
    wanted : iterable of str
        Keys to read; those that are not there are left out.
    where : str
        The data's name, for messages.

    Returns
    -------
    keys : list of str
        All keys at the root that are hard links.
    arrays : mapping
        Key to array.

    Raises
    ------
    DataError
        If the file is no sound HDF5 file, or a wanted dataset is stored in a way that is not read.
    """
    source.check_unchanged(where)
    # -P: the folder of the script must not be searched for modules; one thread: the child only copies.
    command = [sys.executable, "-P", str(_CHILD), str(source.path), *wanted]
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    with child:
        assert child.stdout is not None
        try:
            header = _within(_SECONDS_TO_OPEN, child, lambda pipe: pipe.readline(_MOST_HEADER_BYTES))
            keys, declared = _parse(header, where)
            for key, (dtype, shape, stored) in declared.items():
                refuse_bomb(_num_bytes(dtype, shape), stored, f"the dataset '{key}'", where)
            return keys, {
                key: _read_array(child, dtype, shape, where) for key, (dtype, shape, _) in declared.items()
            }
        finally:
            child.kill()


def _within(seconds: float, child: subprocess.Popen[bytes], read: Any) -> Any:
    """Read from the child's output, and end the child if that takes longer than `seconds`."""
    watchdog = threading.Timer(seconds, child.kill)
    watchdog.start()
    try:
        return read(child.stdout)
    finally:
        watchdog.cancel()


def _parse(header: bytes, where: str) -> tuple[list[str], dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]]:
    if not header.endswith(b"\n"):
        raise _unreadable(where)
    answer = json.loads(header)
    if "problems" in answer:
        raise DataError("the HDF5 file is not read", where=where, problems=answer["problems"])
    arrays = {
        key: (np.dtype(dtype), tuple(shape), stored) for key, (dtype, shape, stored) in answer["arrays"].items()
    }
    return answer["keys"], arrays


def _num_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:  # Python integers: no overflow
        count *= length
    return count * dtype.itemsize


def _read_array(
    child: subprocess.Popen[bytes], dtype: np.dtype[Any], shape: tuple[int, ...], where: str
) -> np.ndarray[Any, Any]:
    buffer = bytearray(_num_bytes(dtype, shape))

    def fill(pipe: IO[bytes]) -> int:
        view, done = memoryview(buffer), 0
        while done < len(buffer) and (count := pipe.readinto(view[done:])):  # type: ignore[attr-defined]
            done += count
        return done

    if _within(_SECONDS_TO_OPEN + len(buffer) / _BYTES_PER_SECOND, child, fill) < len(buffer):
        raise _unreadable(where)
    return np.frombuffer(buffer, dtype=dtype).reshape(shape)


def _unreadable(where: str) -> DataError:
    return DataError(
        "the HDF5 library could not read the file: it crashed, hung or found it damaged",
        where=where,
        fix="write the file again, or store the arrays as safetensors",
    )
