"""Opening a checkpoint of any supported kind: what is in it first, the numbers only when asked.

| path | read as |
|---|---|
| `*.safetensors` | one file |
| `*.safetensors.index.json` | shards beside the index |
| `*.pt`, `*.pth`, `*.bin`, `*.ckpt`, `*.tar` | `torch.save`, restricted to tensors and plain containers |
| a directory | the one `model.safetensors`, its index, or `pytorch_model.bin` in it, as Hugging Face writes them |

Opening never runs code from the file, and whatever is wrong with it ends in a `CheckpointError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from hessent.checkpoint.directory import TRAINER_FILES, file_in_directory, trainer_steps
from hessent.checkpoint.listing import printable
from hessent.checkpoint.metadata import PREFIX, CheckpointMetadata, from_text
from hessent.checkpoint.optimizer_names import OPTIMIZER_SUFFIX
from hessent.checkpoint.promotion import LoadedTensors, promote
from hessent.checkpoint.safetensors_files import SafetensorsFile, SafetensorsSource
from hessent.checkpoint.shards import open_shards
from hessent.checkpoint.stored import StoredTensor, TensorInfo, stored_dtype
from hessent.checkpoint.torch_files import TorchFile
from hessent.errors import CheckpointError

__all__ = [
    "INDEX_SUFFIX",
    "OPTIMIZER_SUFFIX",
    "SAFETENSORS_SUFFIX",
    "TORCH_SUFFIXES",
    "Checkpoint",
    "LoadedTensors",
    "TensorInfo",
    "TensorSource",
    "open_checkpoint",
]

SAFETENSORS_SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")


class TensorSource(Protocol):
    """What a checkpoint's tensors are read from."""

    def read(self) -> Iterator[StoredTensor]:
        """Read all tensors, each in its stored type and in memory of its own."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: everything but the numbers.

    Attributes
    ----------
    path : str
        As the user typed it.
    format : str
        "safetensors", "safetensors-sharded", "torch" or "torch-legacy".
    tensors : mapping of str to TensorInfo
        Sorted by name.
    metadata : CheckpointMetadata
        What it says about itself.
    source : TensorSource
        Where `load` reads from.
    notes : tuple of str
        Sentences: what the file holds and was not read.
    """

    path: str
    format: str
    tensors: Mapping[str, TensorInfo]
    metadata: CheckpointMetadata
    source: TensorSource = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The folder its metadata may name data in, as typed ("" for the current one)."""
        return self.path if os.path.isdir(self.path) else os.path.dirname(self.path)

    @property
    def stored_dtype(self) -> str:
        """The floating types it is stored in, most elements first: "BF16", "F32+BF16"."""
        return stored_dtype(self.tensors.values())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name to shape, which is all that recognising an architecture needs."""
        return {name: info.shape for name, info in self.tensors.items()}

    def load(self, dtype: torch.dtype = torch.float32) -> LoadedTensors:
        """Read the numbers, tensor by tensor.

        Parameters
        ----------
        dtype : torch.dtype, default torch.float32
            For floating tensors; torch.float64 keeps float64 weights as they are.  Other tensors keep their type.

        Returns
        -------
        LoadedTensors
            With the digest of what is stored.

        Raises
        ------
        CheckpointError
            The file changed since it was opened or while it was read, or weights are not finite numbers.
        ComputationError
            A tensor does not fit into memory.
        """
        return promote(self.source.read(), dtype, self.path)


def open_checkpoint(path: str) -> Checkpoint:
    """Open a checkpoint and describe it without reading its numbers.

    Parameters
    ----------
    path : str
        A file, an index or a directory (see the table above).

    Returns
    -------
    Checkpoint
        Its `path` is the one given.

    Raises
    ------
    CheckpointError
        It cannot be read, is damaged, claims what it does not hold, would need code to run, or is of a kind that
        we do not read; the message says what to do.
    """
    file = file_in_directory(path) if os.path.isdir(path) else path
    if file.endswith(OPTIMIZER_SUFFIX):
        raise CheckpointError(
            "this is the state of an optimizer, not the weights",
            where=path,
            fix=printable(path.removesuffix(OPTIMIZER_SUFFIX) + SAFETENSORS_SUFFIX),
        )
    if file.endswith(INDEX_SUFFIX):
        checkpoint = _from_safetensors(path, "safetensors-sharded", open_shards(file))
    elif file.endswith(SAFETENSORS_SUFFIX):
        checkpoint = _from_safetensors(path, "safetensors", SafetensorsSource((SafetensorsFile.open(file),)))
    elif file.endswith(TORCH_SUFFIXES):
        checkpoint = _from_torch(path, TorchFile.open(file))
    else:
        raise _unknown_kind(path)
    if checkpoint.metadata.step is None and os.path.basename(file) in TRAINER_FILES:
        step, total_steps = trainer_steps(os.path.dirname(file))
        metadata = replace(checkpoint.metadata, step=step, total_steps=total_steps)
        checkpoint = replace(checkpoint, metadata=metadata)
    return checkpoint


def _from_safetensors(path: str, kind: str, source: SafetensorsSource) -> Checkpoint:
    text: dict[str, str] = {}
    for file in source.files:
        for key, value in file.header.metadata.items():
            if text.setdefault(key, value) != value and key.startswith(PREFIX):
                raise CheckpointError(f"its shards contradict each other about {printable(key)}", where=path)
    infos = source.infos
    if not infos:
        raise CheckpointError("there are no tensors in it", where=path, expected="the weights of a model")
    return Checkpoint(path, kind, infos, from_text(text, path), source)


def _from_torch(path: str, file: TorchFile) -> Checkpoint:
    extra = {} if file.epoch is None else {"epoch": str(file.epoch)}
    metadata = CheckpointMetadata(step=file.step, extra=extra)
    return Checkpoint(path, file.layout, file.infos, metadata, file, file.notes)


def _unknown_kind(path: str) -> CheckpointError:
    if not os.path.lexists(path):
        return CheckpointError("there is no such file or directory", where=path, fix="check the path")
    if path.endswith((".distcp", ".metadata")):
        return CheckpointError("this is one part of a distributed checkpoint", where=path, fix="name its directory")
    return CheckpointError(
        "its name does not say what kind of checkpoint it is",
        where=path,
        expected="one of "
        + ", ".join(("*" + SAFETENSORS_SUFFIX, "*" + INDEX_SUFFIX, *("*" + s for s in TORCH_SUFFIXES)))
        + ", or a directory that holds model.safetensors",
    )
