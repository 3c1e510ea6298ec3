"""How a tensor lies in a file: its element types and the records that pass between a file and `load`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from hessent.checkpoint.element_types import MAX_TENSORS, TensorInfo

__all__ = ["DTYPE_NAMES", "MAX_TENSORS", "TORCH_DTYPES", "StoredTensor", "TensorInfo", "stored_dtype"]

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}
DTYPE_NAMES: Mapping[torch.dtype, str] = {dtype: name for name, dtype in TORCH_DTYPES.items()}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it came out of a file, in its stored type and owning its memory.

    Attributes
    ----------
    name : str
        The name in the file.
    tensor : torch.Tensor
        Contiguous, on the CPU. Shape as in the file.
    same_as : str or None
        An earlier name whose very memory this one shared in the file.
    """

    name: str
    tensor: torch.Tensor
    same_as: str | None = None


def stored_dtype(infos: Iterable[TensorInfo]) -> str:
    """Name the element types that the weights are stored in.

    Parameters
    ----------
    infos : iterable of TensorInfo
        All tensors of a checkpoint.

    Returns
    -------
    str
        The floating types, the one with most elements first, joined by "+": "BF16", "F32+BF16"; the other types
        where there is no floating one; "" for no tensors.
    """
    floating: dict[str, int] = {}
    others: dict[str, int] = {}
    for info in infos:
        counts = floating if info.is_floating else others
        counts[info.dtype] = counts.get(info.dtype, 0) + info.num_elements
    counts = floating or others
    return "+".join(sorted(counts, key=lambda name: (-counts[name], name)))
