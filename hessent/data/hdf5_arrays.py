"""Arrays at the root of an HDF5 file, which is read in a process of its own: a damaged one crashes the library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hessent.data.source_file import SourceFile, refuse_bomb
from hessent.errors import DataError
from hessent.foreign.hdf5_process import Task, UnreadableError, array_at, conversation

# One row of chunks is unpacked at a time; data may be packed to a small part of their size.
_MEMORY = 16  # times the size of the file
_MOST_MEMORY = 4 * 2**30


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
    try:
        with (
            source.open(where) as file,
            conversation(file, Task(tuple(wanted), min(_MEMORY * source.size, _MOST_MEMORY))) as (header, take),
        ):
            declared = _declared(header, where)
            arrays = {
                key: array_at(take(math.prod(shape) * dtype.itemsize), 0, dtype, shape)
                for key, (dtype, shape) in declared.items()
            }
            return [str(key) for key in header["keys"]], arrays
    except UnreadableError as error:
        raise DataError(
            f"the HDF5 file is not read: {error.found}",
            where=where,
            problems=error.problems,
            fix="write the file again, or store the arrays as safetensors" if error.damaged else None,
        ) from error


def _declared(header: Mapping[str, Any], where: str) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return type and shape of every array that follows, once all of them are judged."""
    declared = {}
    try:
        for key, (name, lengths, stored) in header["arrays"].items():
            dtype, shape = np.dtype(name), tuple(lengths)
            if dtype.kind not in "fiu" or not all(type(length) is int and length >= 0 for length in shape):
                raise TypeError(name)
            refuse_bomb(math.prod(shape) * dtype.itemsize, int(stored), f"the dataset '{key}'", where)
            declared[str(key)] = (dtype, shape)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError("the process that read it did not answer in its language") from error
    return declared
