"""What a checkpoint's pickle claims about its storages and tensors, and whether it can be true.

The words of this file: a *storage* is a run of bytes in the file, a *tensor* a strided view of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from hessent.checkpoint.listing import shown
from hessent.checkpoint.stored import DTYPE_NAMES, TORCH_DTYPES

MAX_DIMENSIONS = 64
# Views may share memory (tied weights, a fused matrix and its parts), but not blow a file up when copied out.
MAX_SHARING = 4
# Entries that setting the state of containers may copy; a checkpoint copies one or two for each container.
MAX_COPIED = 1_000_000

REBUILDERS = frozenset(
    {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
)
_STORAGES = {
    "torch.BoolStorage": "BOOL",
    "torch.ByteStorage": "U8",
    "torch.CharStorage": "I8",
    "torch.ShortStorage": "I16",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.IntStorage": "I32",
    "torch.FloatStorage": "F32",
    "torch.ComplexFloatStorage": "C64",
    "torch.DoubleStorage": "F64",
    "torch.LongStorage": "I64",
    "torch.storage.UntypedStorage": "U8",
}
_DTYPES = {str(dtype): dtype for dtype in DTYPE_NAMES}
_ALLOWED = {
    *REBUILDERS,
    *_STORAGES,
    *_DTYPES,
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "collections.OrderedDict",
    "argparse.Namespace",
    "torch.Size",
    "torch.device",
    "_codecs.encode",  # how protocol 2 writes bytes
}


class ImplausibleError(Exception):
    """A pickle claims or does something that no checkpoint does; the text is the sentence for the user."""


@dataclass(frozen=True, slots=True)
class Global:
    """A module-level name that a pickle asks for."""

    path: str

    @classmethod
    def canonical(cls, module: str, name: str) -> Global:
        """Join module and name, the module as Python 3 calls it."""
        return cls(f"{'builtins' if module == '__builtin__' else module}.{name}")


@dataclass(slots=True)
class Container:
    """A list, dictionary or namespace of which only the length is followed."""

    length: int = 0


@dataclass(frozen=True, slots=True)
class StorageClaim:
    """A run of `num_bytes` bytes in the file, seen as elements of one type."""

    key: str
    dtype: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """A view of a storage; it was checked against the storage's length."""

    storage: StorageClaim


@dataclass
class Claims:
    """All that one pickle claims.

    Attributes
    ----------
    storages : dict of str to int
        Bytes of each storage, by its key in the file.
    views : set of str
        The different tensors: key, first element, shape, strides and type, as text.
    view_bytes : int
        Bytes of all different tensors together.
    copied : int
        Container entries that restoring states would copy.
    """

    storages: dict[str, int] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    view_bytes: int = 0
    copied: int = 0

    def copy(self, number: int) -> None:
        """Count entries that are copied, up to what a checkpoint may need."""
        self.copied += number
        if self.copied > MAX_COPIED:
            raise ImplausibleError("the pickle in it copies its containers over and over")

    def require_plausible_sharing(self) -> None:
        """Refuse tensors that, copied out, would take many times the bytes they share."""
        total = sum(self.storages.values())
        if self.view_bytes > MAX_SHARING * total:
            raise ImplausibleError(
                f"its tensors claim {self.view_bytes:,} bytes but share only {total:,} (stored as expanded views)"
            )


def is_allowed(name: Global) -> bool:
    """Tell whether a plain checkpoint may ask for this name."""
    return name.path in _ALLOWED


def storage_claim(identity: Any, claims: Claims) -> StorageClaim:
    """Read the persistent identity of a storage and note its claim.

    Parameters
    ----------
    identity : tuple
        ("storage", type, key, device, number of elements) and, in the legacy format, None or
        (key of the view, first element, number of elements).
    claims : Claims
        Where the storage is noted.

    Raises
    ------
    ImplausibleError
        The identity is of another form, or contradicts an earlier one.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ImplausibleError("the pickle in it refers to something that is not a storage")
    kind, key, _, numel = identity[1:5]
    dtype = _STORAGES.get(kind.path) if isinstance(kind, Global) else None
    if dtype is None or type(key) is not str or not _is_count(numel):
        raise ImplausibleError(f"the storage {shown(str(key))} has no valid type and length")
    itemsize = TORCH_DTYPES[dtype].itemsize
    if claims.storages.setdefault(key, numel * itemsize) != numel * itemsize:
        raise ImplausibleError(f"the storage {shown(key)} is claimed with two different lengths")
    view = identity[5] if len(identity) == 6 else None
    if view is not None:
        _, first, length = view
        if not (_is_count(first) and _is_count(length) and first + length <= numel):
            raise ImplausibleError(f"a view of the storage {shown(key)} leaves it")
        numel = length
    return StorageClaim(key, dtype, numel * itemsize)


def tensor_claim(rebuilder: str, arguments: Any, claims: Claims) -> TensorClaim:
    """Check the arguments of a tensor's rebuilding and note the view.

    Parameters
    ----------
    rebuilder : str
        One of `REBUILDERS`.
    arguments : tuple
        (storage, first element, shape, strides, …); for the third version the seventh is the element type.
    claims : Claims
        Where the view is noted.

    Raises
    ------
    ImplausibleError
        The view leaves its storage or claims more elements than it holds.
    """
    storage, first, shape, strides = arguments[:4]
    if not isinstance(storage, StorageClaim):
        raise ImplausibleError("a tensor in it has no storage")
    dtype = TORCH_DTYPES[storage.dtype]
    if rebuilder.endswith("_v3"):
        dtype = _DTYPES[arguments[6].path]
    valid = _is_count(first) and all(
        isinstance(axes, tuple) and len(axes) <= MAX_DIMENSIONS and all(map(_is_count, axes))
        for axes in (shape, strides)
    )
    if not valid or len(shape) != len(strides):
        raise ImplausibleError("a tensor in it has no valid shape, strides and offset")
    numel, held = math.prod(shape), storage.num_bytes // dtype.itemsize
    last = first + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if numel > held or (numel and last >= held):
        raise ImplausibleError(
            f"a tensor in it claims {min(numel, 2**63):,} elements of a storage that holds {held:,} "
            "(a damaged file, or an expanded view saved without .contiguous())"
        )
    # As text: the hashes of integers can be chosen to collide, which would make this set quadratic.
    view = repr((storage.key, first, shape, strides, dtype))
    if view not in claims.views:
        claims.views.add(view)
        claims.view_bytes += numel * dtype.itemsize
    return TensorClaim(storage)


def conversion_cost(path: str, arguments: Any) -> int | None:
    """Tell how many entries a harmless conversion copies; None when it is not called as checkpoints call it."""
    if path == "torch.Size" and len(arguments) == 1 and isinstance(arguments[0], tuple):
        return len(arguments[0])
    if path == "_codecs.encode" and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
        return len(arguments[0]) if isinstance(arguments[0], str) else None
    return 0 if path == "torch.device" else None


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63
