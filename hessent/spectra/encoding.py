"""How spectrum files name their parts and hold text: what writer and reader share (see SPEC.md).

HDF5 strings cannot hold NUL, and a name from a checkpoint may hold anything.  So text is kept in plain ASCII, as it
would stand between the quotes of a JSON string: an ordinary name reads as itself, and every other one survives.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

TYPE_ATTRIBUTE = "encoding-type"
VERSION_ATTRIBUTE = "encoding-version"

Encoding = tuple[str, str]  # (encoding-type, encoding-version)

SPECTRUM: Encoding = ("spectrum", "1")
PROVENANCE: Encoding = ("provenance", "1")
MODEL: Encoding = ("model", "1")
BLOCKS: Encoding = ("blocks", "1")
EXACT_BLOCK: Encoding = ("exact-block", "1")
LANCZOS_BLOCK: Encoding = ("lanczos-block", "1")
TRACE_BLOCK: Encoding = ("trace-block", "1")
KRONECKER_BLOCK: Encoding = ("kronecker-block", "1")
FACTORS: Encoding = ("factors", "1")
FACTOR_PAIR: Encoding = ("factor-pair", "1")
OUTLIERS: Encoding = ("outliers", "1")
PROBES: Encoding = ("probes", "1")
DATA_GROUPS: Encoding = ("data-groups", "1")
GRADIENT: Encoding = ("gradient", "1")
PROBE_SPACE: Encoding = ("probe-space", "1")
SHORTER: Encoding = ("shorter", "1")
SHORTER_SPECTRUM: Encoding = ("shorter-spectrum", "1")
MEASURES: Encoding = ("measures", "1")
TENSOR_PROBE: Encoding = ("tensor-probe", "1")
SPLIT: Encoding = ("split", "1")
SPLIT_BLOCK: Encoding = ("split-block", "1")

# The first 512 bytes of a file, which HDF5 leaves to the application: who wrote it and the digest of the rest.
PREAMBLE_SIZE = 512
PREAMBLE_START = b"hessent spectrum file\n"


def preamble(image: bytes) -> bytes:
    """Return the 512 bytes that stand before the HDF5 `image`: a line of text, and its SHA-256 and length."""
    return preamble_of(hashlib.sha256(image).hexdigest(), len(image))


def preamble_of(digest: str, length: int) -> bytes:
    """Return the preamble of an image of `length` bytes whose SHA-256 is `digest`, in small hexadecimal letters."""
    return (PREAMBLE_START + f"sha256 {digest}\nbytes {length}\n".encode()).ljust(PREAMBLE_SIZE, b"\0")


def encode_text(text: str) -> np.bytes_:
    """Return `text` as the ASCII letters between the quotes of its JSON string."""
    return np.bytes_(json.dumps(text)[1:-1].encode("ascii"))


def decode_text(stored: bytes) -> str:
    """Return the text that `encode_text` stored.

    Raises
    ------
    ValueError
        If `stored` is not the inside of a JSON string.
    """
    text = json.loads(f'"{stored.decode("ascii")}"')
    if not isinstance(text, str):
        raise ValueError("not the inside of one JSON string")
    return text


def encode_json(value: Any) -> bytes:
    """Return `value` as one strict JSON document in ASCII with sorted keys; NaN and ±Infinity become strings."""
    return json.dumps(_strict(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "nan", "inf", "-inf": what float() reads back
    return value
