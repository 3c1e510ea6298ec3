"""From stored tensors to numbers that can be computed with: promoted, checked and fingerprinted in one pass.

The digest is that of `fingerprint`: it does not depend on the file's layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from hessent.checkpoint.fingerprint import combined
from hessent.checkpoint.listing import capped, shown
from hessent.checkpoint.stored import DTYPE_NAMES, StoredTensor, TensorInfo, stored_dtype
from hessent.errors import CheckpointError

# Every tensor of a diverged model is worth naming, but not a hundred thousand of them.
MAX_NAMED = 500


@dataclass(frozen=True)
class LoadedTensors:
    """The weights, ready to compute with.

    Attributes
    ----------
    tensors : dict of str to torch.Tensor
        In the order of the names; floating ones in the type asked for, others as stored.
    sha256 : str
        Digest of what is stored, independent of the file's layout.
    stored_dtype : str
        The floating types in the file, most elements first: "F32", "BF16", "F32+BF16".
    """

    tensors: dict[str, torch.Tensor]
    sha256: str
    stored_dtype: str


def promote(stored: Iterable[StoredTensor], dtype: torch.dtype, where: str) -> LoadedTensors:
    """Promote floating tensors to one type, refuse what is not finite, and take the digest.

    Parameters
    ----------
    stored : iterable of StoredTensor
        As read; consumed once, so that only one tensor is held twice.
    dtype : torch.dtype
        For floating tensors: torch.float32 or torch.float64.
    where : str
        The checkpoint, for messages.

    Returns
    -------
    LoadedTensors
        Sorted by name.

    Raises
    ------
    CheckpointError
        Some tensors hold NaN or infinite values, or values beyond the range of `dtype`; all are named.
    """
    tensors: dict[str, torch.Tensor] = {}
    digests: dict[str, bytes] = {}
    infos: dict[str, TensorInfo] = {}
    problems: list[str] = []
    for record in stored:
        name, tensor = record.name, record.tensor
        infos[name] = TensorInfo(tuple(tensor.shape), DTYPE_NAMES[tensor.dtype])
        if record.same_as is not None:
            tensors[name], digests[name] = tensors[record.same_as], digests[record.same_as]
            continue
        digests[name] = _digest(tensor)
        tensors[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        problem = _not_finite(tensor, tensors[name])
        if problem is not None:
            problems.append(f"{shown(name)}: {problem}")
    if problems:
        raise CheckpointError(
            f"{len(problems):,} of {len(tensors):,} tensors hold values that are not finite numbers",
            where=where,
            problems=capped(sorted(problems), MAX_NAMED),
            fix="an earlier checkpoint: the run had diverged, or the file is damaged",
        )
    names = sorted(tensors)
    return LoadedTensors(
        {name: tensors[name] for name in names}, combined(infos, digests), stored_dtype(infos.values())
    )


def _digest(tensor: torch.Tensor) -> bytes:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(raw.numpy().data).digest()


def _not_finite(stored: torch.Tensor, promoted: torch.Tensor) -> str | None:
    if not (promoted.is_floating_point() or promoted.is_complex()) or bool(torch.isfinite(promoted).all()):
        return None
    nan, infinite = int(torch.isnan(promoted).sum()), int(torch.isinf(promoted).sum())
    if stored.dtype is torch.float64 and bool(torch.isfinite(stored).all()):
        return f"{infinite:,} of {stored.numel():,} values exceed the range of {promoted.dtype}; load as float64"
    return f"{nan:,} NaN and {infinite:,} infinite of {stored.numel():,} values"
