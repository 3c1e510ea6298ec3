"""Tensors of one safetensors file or of its shards, read without a memory map.

A map would be one copy cheaper, but a file that is cut off under it kills the process (SIGBUS); a plain read that
comes up short is an error that can be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from hessent.checkpoint.element_types import TensorInfo
from hessent.checkpoint.regular_file import (
    Stamp,
    changed_while_reading,
    open_regular,
    read_into,
    require_unchanged,
)
from hessent.checkpoint.safetensors_header import Entry, Header, read_header
from hessent.errors import ComputationError

if TYPE_CHECKING:
    import torch

    from hessent.checkpoint.stored import StoredTensor


@dataclass(frozen=True)
class SafetensorsFile:
    """One file whose header was checked.

    Attributes
    ----------
    path : str
        As it was opened.
    stamp : Stamp
        Of the file the header was read from.
    header : Header
        The checked header.
    """

    path: str
    stamp: Stamp
    header: Header

    @classmethod
    def open(cls, path: str) -> SafetensorsFile:
        """Open a file, check its header and close it again.

        Raises
        ------
        CheckpointError
            The file is not a whole, valid safetensors file.
        """
        with open_regular(path) as (handle, stamp):
            header = read_header(handle, stamp.size, path)
        return cls(path, stamp, header)

    def read(self) -> Iterator[StoredTensor]:
        """Read all tensors in the order of the data, each into memory of its own.

        Raises
        ------
        CheckpointError
            The file is no longer the one whose header was checked.
        """
        from hessent.checkpoint.stored import StoredTensor

        for name, entry, handle in self.walk():
            yield StoredTensor(name, _read_tensor(handle, entry, self.path))

    def walk(self) -> Iterator[tuple[str, Entry, BinaryIO]]:
        """Go through all tensors in the order of the data; the handle stands at each, and must be read past it.

        Raises
        ------
        CheckpointError
            The file is no longer the one whose header was checked.
        """
        with open_regular(self.path) as (handle, stamp):
            if stamp != self.stamp:
                raise changed_while_reading(self.path)
            handle.seek(self.header.data_start)
            for name, entry in self.header.entries.items():
                yield name, entry, handle
            if Stamp.of_handle(handle) != self.stamp:
                raise changed_while_reading(self.path)
        require_unchanged(self.path, self.stamp)


@dataclass(frozen=True)
class SafetensorsSource:
    """The files that make up one checkpoint, their tensors disjoint."""

    files: tuple[SafetensorsFile, ...]

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """What the headers say, sorted by name."""
        found = {name: entry.info for file in self.files for name, entry in file.header.entries.items()}
        return dict(sorted(found.items()))

    def read(self) -> Iterator[StoredTensor]:
        """Read all tensors, file by file."""
        for file in self.files:
            yield from file.read()


def _read_tensor(handle: BinaryIO, entry: Entry, path: str) -> torch.Tensor:
    import torch  # what only fingerprints a file does without

    from hessent.checkpoint.stored import TORCH_DTYPES

    try:
        raw = torch.empty(entry.end - entry.begin, dtype=torch.uint8)
    except (RuntimeError, MemoryError) as error:
        raise ComputationError(
            f"not enough memory for a tensor of {entry.end - entry.begin:,} bytes", where=path
        ) from error
    if len(raw):
        read_into(handle, raw.numpy().data, path)
    dtype = TORCH_DTYPES[entry.info.dtype]
    # A stored bool may be any byte, a torch bool only 0 or 1.
    typed = raw.ne(0) if dtype is torch.bool else raw.view(dtype)
    return typed.reshape(entry.info.shape)
