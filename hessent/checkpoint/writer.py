"""Writing a checkpoint so that it is either there and whole, or not there.

The bytes go to a file beside the target, are forced to the disk, and the file takes the target's name in one
step; a run that is killed leaves at most a `.tmp` file.  The format is safetensors with a header whose order is
fixed, so that the same content always gives the same bytes (the usual writer leaves the order of metadata open).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping

import torch

from hessent.checkpoint.listing import printable, shown
from hessent.checkpoint.metadata import CheckpointMetadata, to_text
from hessent.checkpoint.optimizer_names import OPTIMIZER_SUFFIX, flatten_states, optimizer_state_path
from hessent.checkpoint.safetensors_header import METADATA_KEY, parse_header
from hessent.checkpoint.stored import DTYPE_NAMES
from hessent.errors import CheckpointError
from hessent.storage.whole_file import write_whole

ALIGNMENT = 8


def save_checkpoint(
    path: str,
    tensors: Mapping[str, torch.Tensor],
    metadata: CheckpointMetadata,
    optimizer_state: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
) -> None:
    """Write a checkpoint and, beside it, the state of its optimizer.

    Parameters
    ----------
    path : str
        `….safetensors`; missing folders are made.
    tensors : mapping of str to torch.Tensor
        Such as `model.state_dict()`; any device.
    metadata : CheckpointMetadata
        Written as text (see `metadata.py`).
    optimizer_state : mapping, optional
        Parameter name to state name to tensor, written to `….optim.safetensors`.  It is written first: where the
        checkpoint is there, its state is there too.

    Raises
    ------
    CheckpointError
        The path, a tensor's type or the metadata could not be read back.
    StorageError
        The disk is full, the folder is not writable, …
    """
    if not path.endswith(".safetensors") or path.endswith(OPTIMIZER_SUFFIX):
        raise CheckpointError(
            "a checkpoint is written under a name that ends in .safetensors", where=path, fix="STEM.safetensors"
        )
    text = to_text(metadata)
    weights = _file_parts(tensors, text, path)
    if optimizer_state is not None:
        state_path = optimizer_state_path(path)
        state_text = {key: text[key] for key in text if key in ("hessent.format", "hessent.step")}
        write_whole(
            state_path,
            _file_parts(flatten_states(optimizer_state, tensors, path), state_text, state_path),
            make_folders=True,
        )
    write_whole(path, weights, make_folders=True)


def _file_parts(tensors: Mapping[str, torch.Tensor], text: Mapping[str, str], path: str) -> Iterator[memoryview]:
    """Lay a file out, check the header with the reader's own eyes, and return its parts in order."""
    unknown = [name for name, tensor in tensors.items() if tensor.dtype not in DTYPE_NAMES]
    if unknown:
        raise CheckpointError(
            f"the tensor {shown(unknown[0])} is {tensors[unknown[0]].dtype}, which safetensors does not have",
            where=printable(path),
        )
    # The widest types first keeps every tensor aligned; the name then settles the order.
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {METADATA_KEY: dict(sorted(text.items()))} if text else {}
    position = 0
    for name in names:
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    raw = json.dumps(header, separators=(",", ":")).encode("ascii")
    raw += b" " * (-len(raw) % ALIGNMENT)
    parse_header(raw, position, path)
    return _parts(raw, [tensors[name] for name in names])


def _parts(header: bytes, tensors: list[torch.Tensor]) -> Iterator[memoryview]:
    yield memoryview(struct.pack("<Q", len(header)) + header)
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if len(flat):
            yield flat.view(torch.uint8).numpy().data
