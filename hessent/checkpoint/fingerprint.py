"""The fingerprint of a checkpoint's content: over names, element types, shapes and stored bytes, by name.

It does not depend on the file's layout: one file, its shards and the same weights from `torch.save` have one.  Of
safetensors it is had at the speed of reading, without torch and without holding a tensor in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import BinaryIO

from hessent.checkpoint.directory import file_in_directory
from hessent.checkpoint.element_types import BOOL, TensorInfo
from hessent.checkpoint.regular_file import changed_while_reading
from hessent.checkpoint.safetensors_files import SafetensorsFile, SafetensorsSource
from hessent.checkpoint.safetensors_header import Entry
from hessent.checkpoint.shards import open_shards

_SAFETENSORS = ".safetensors"
_INDEX = ".safetensors.index.json"
_CHUNK = 2**22  # bytes
_TO_TRUTH = bytes([0]) + bytes([1]) * 255  # a stored bool may be any byte; what is computed with is 0 or 1


def combined(infos: Mapping[str, TensorInfo], digests: Mapping[str, bytes]) -> str:
    """Return the fingerprint of tensors (hex).

    Parameters
    ----------
    infos : mapping of str to TensorInfo
        Types and shapes by name.
    digests : mapping of str to bytes
        SHA-256 of each tensor's bytes, by the same names.
    """
    whole = hashlib.sha256()
    for name in sorted(infos):
        encoded = name.encode("utf-8", "surrogatepass")
        description = f"{len(encoded)}:{infos[name].dtype}:{'x'.join(map(str, infos[name].shape))}:"
        whole.update(description.encode("ascii") + encoded + digests[name])
    return whole.hexdigest()


def fingerprint(path: str) -> str:
    """Return the fingerprint of what a checkpoint holds now, as `LoadedTensors.sha256` would be.

    Torch is loaded for files of `torch.save` alone.

    Parameters
    ----------
    path : str
        A checkpoint, as typed.

    Raises
    ------
    CheckpointError
        It cannot be read, or changed while it was.
    """
    file = file_in_directory(path) if os.path.isdir(path) else path
    if file.endswith(_INDEX):
        return _of_safetensors(open_shards(file))
    if file.endswith(_SAFETENSORS):
        return _of_safetensors(SafetensorsSource((SafetensorsFile.open(file),)))
    from hessent.checkpoint.reader import open_checkpoint

    return open_checkpoint(path).load().sha256


def _of_safetensors(source: SafetensorsSource) -> str:
    digests = {
        name: _digest(handle, entry, file.path) for file in source.files for name, entry, handle in file.walk()
    }
    return combined(source.infos, digests)


def _digest(handle: BinaryIO, entry: Entry, path: str) -> bytes:
    """SHA-256 of the next tensor of a file, read in pieces."""
    digest, left = hashlib.sha256(), entry.end - entry.begin
    while left:
        piece = handle.read(min(left, _CHUNK))
        if not piece:
            raise changed_while_reading(path)
        left -= len(piece)
        digest.update(piece.translate(_TO_TRUTH) if entry.info.dtype == BOOL else piece)
    return digest.digest()
