"""Functions of torch's with the package's own in their place, and the tensors these serve."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

_ORDINARY = (Tensor, nn.Parameter)
_unpack_dual: Callable[[Tensor], Any] = forward_ad.unpack_dual


class Substitute:
    """While entered, a function stands in for one of torch.nn.functional's, in any model.

    The name is rebound, as long as anybody is inside: a mode of torch's would slow every other function down, and
    not see calls inside functions that it is called for (nn.MultiheadAttention's, recomputation in a backward
    pass).  Code that imported the function itself by name keeps torch's, and whoever rebound the name before keeps
    their own: both right, with more memory or time.

    Parameters
    ----------
    name : str
        The function's name in torch.nn.functional.
    ours : callable
        What stands in for it.
    """

    def __init__(self, name: str, ours: Callable[..., Tensor]) -> None:
        self._name = name
        self._ours = ours
        self._torchs: Callable[..., Tensor] = getattr(functional, name)
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        """Rebind the name."""
        with self._lock:
            self._inside += 1
            if getattr(functional, self._name) is self._torchs:
                setattr(functional, self._name, self._ours)

    def __exit__(self, *details: object) -> None:
        """Give the name back, if nobody else is inside."""
        with self._lock:
            self._inside -= 1
            if not self._inside and getattr(functional, self._name) is self._ours:
                setattr(functional, self._name, self._torchs)


def is_transformed() -> bool:
    """Tell whether torch.func or a compiler watches, which our functions know nothing of."""
    return bool(torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling())


def is_plain(operand: Tensor, first: Tensor) -> bool:
    """Tell whether an operand is an ordinary tensor on the first one's device, without a forward derivative.

    False too where the first one is of another precision than float32 and float64, or will be by autocast.
    """
    return (
        type(operand) in _ORDINARY
        and operand.layout == torch.strided
        and not operand.is_nested
        and operand.device == first.device
        and first.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled(first.device.type)
        and not is_batch(operand)
        and _unpack_dual(operand).tangent is None
    )


def is_batch(*vectors: Tensor) -> bool:
    """Tell whether a tensor stands for one of a batch, under vmap or a batched backward pass."""
    try:
        for vector in vectors:
            vector.untyped_storage()
    except NotImplementedError:  # a wrapper has no storage of its own
        return True
    return False
