"""The element types of stored tensors by their safetensors names; what can be said of a tensor without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MAX_TENSORS = 200_000

BOOL = "BOOL"
# Bytes of an element.  Types of less than a byte are absent: they mean nothing without scales.
ELEMENT_BYTES: Mapping[str, int] = {
    BOOL: 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "F8_E8M0": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "C64": 8,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file says about a tensor before it is read.

    Attributes
    ----------
    shape : tuple of int
        Lengths of the axes; empty for a scalar.
    dtype : str
        Stored element type by its safetensors name: "F32", "BF16", …
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def num_elements(self) -> int:
        """Number of elements (1 for a scalar)."""
        return math.prod(self.shape)

    @property
    def is_floating(self) -> bool:
        """Whether the stored type is a floating one."""
        return self.dtype.startswith(("F", "BF"))
