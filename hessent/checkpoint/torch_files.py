"""Tensors of a `.pt`, `.pth`, `.bin`, `.ckpt` or `.tar` file: checked, then loaded by torch's restricted reader.

`torch.load(weights_only=True, mmap=True)`, nothing else.  With the map, opening a file touches its pickle only;
`read` copies each tensor out of the map at once, so that a file that changes later cannot reach the numbers.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hessent.checkpoint.listing import printable, shown
from hessent.checkpoint.regular_file import Stamp, open_regular, require_unchanged
from hessent.checkpoint.state_dict import FoundWeights, find_weights
from hessent.checkpoint.stored import DTYPE_NAMES, StoredTensor, TensorInfo
from hessent.checkpoint.torch_layout import check_layout
from hessent.errors import CheckpointError


@dataclass(frozen=True)
class TorchFile:
    """A file of `torch.save` that was checked and whose pickle was read.

    Attributes
    ----------
    path : str
        As it was opened.
    stamp : Stamp
        Of the file that was checked.
    layout : str
        "torch" or "torch-legacy".
    infos : mapping of str to TensorInfo
        The tensors, sorted by name.
    step, epoch : int or None
        Counters saved beside the weights.
    notes : tuple of str
        Sentences: what the file holds and was not read.
    """

    path: str
    stamp: Stamp
    layout: str
    infos: Mapping[str, TensorInfo]
    step: int | None
    epoch: int | None
    notes: tuple[str, ...]

    @classmethod
    def open(cls, path: str) -> TorchFile:
        """Check a file, read its pickle and describe its tensors.

        Raises
        ------
        CheckpointError
            The file is damaged, needs code to run, or holds no weights.
        """
        with open_regular(path) as (handle, stamp):
            layout = check_layout(handle, stamp.size, path)
        found = _load(path, stamp, layout)
        infos = {name: _describe(name, tensor, path) for name, tensor in found.tensors.items()}
        return cls(path, stamp, layout, dict(sorted(infos.items())), found.step, found.epoch, found.notes)

    def read(self) -> Iterator[StoredTensor]:
        """Read all tensors, each into memory of its own unless the file has two names for one.

        Raises
        ------
        CheckpointError
            The file is no longer the one that was checked.
        """
        require_unchanged(self.path, self.stamp)
        found = _load(self.path, self.stamp, self.layout)
        first_names: dict[tuple[Any, ...], str] = {}
        for name, tensor in found.tensors.items():
            key = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            first = first_names.setdefault(key, name) if tensor.numel() else name
            if first != name:
                yield StoredTensor(name, tensor, same_as=first)
                continue
            yield StoredTensor(name, torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor))
        require_unchanged(self.path, self.stamp)


def read_saved(path: str) -> Any:
    """Check a file of `torch.save` and return all that is in it, tensors as views of the file: copy what is kept.

    Raises
    ------
    CheckpointError
        The file is damaged, or needs code to run.
    """
    with open_regular(path) as (handle, stamp):
        layout = check_layout(handle, stamp.size, path)
    return _load_saved(path, stamp, layout)


def _load(path: str, stamp: Stamp, layout: str) -> FoundWeights:
    return find_weights(_load_saved(path, stamp, layout), path)


def _load_saved(path: str, stamp: Stamp, layout: str) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about pickle protocols and old storages: nothing a user could act on
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=layout == "torch")
    except Exception as error:
        # torch raises whatever the damage happens to hit; all of it means that the file cannot be read.
        require_unchanged(path, stamp)
        reason = printable(str(error).strip().split("\n")[0])
        raise CheckpointError(
            f"torch cannot read it ({type(error).__name__}: {reason})",
            where=path,
            fix="fetch or save the file again, best as safetensors",
        ) from error
    require_unchanged(path, stamp)
    return saved


def _describe(name: str, tensor: torch.Tensor, where: str) -> TensorInfo:
    dtype = DTYPE_NAMES.get(tensor.dtype)
    if dtype is None or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise CheckpointError(
            f"the tensor {shown(name)} is {tensor.dtype}, {tensor.layout} on {tensor.device}",
            where=where,
            expected=f"a dense tensor of {', '.join(str(known) for known in DTYPE_NAMES)}",
        )
    return TensorInfo(tuple(tensor.shape), dtype)
