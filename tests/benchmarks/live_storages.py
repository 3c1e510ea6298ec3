"""Peak of the bytes that tensors hold, counted where they are made and freed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorages(TorchDispatchMode):
    """Counts the storages that are alive, each once, and their peak; what kernels take for themselves is not seen.

    Parameters
    ----------
    standing : iterable of Tensor
        Tensors that live already and count too: parameters, data.

    Attributes
    ----------
    live, peak : int
        Bytes.
    """

    def __init__(self, standing: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, weakref.finalize[Any, Any]] = {}
        for tensor in standing:
            self._count(tensor)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return found

    def _count(self, tensor: Tensor) -> None:
        if tensor.layout is not torch.strided or tensor.is_meta:  # tensors without data take nothing
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known and self._known[key].alive:
            return
        nbytes = storage.nbytes()
        self.live += nbytes
        self.peak = max(self.peak, self.live)
        self._known[key] = weakref.finalize(storage, self._free, key, nbytes)

    def _free(self, key: int, nbytes: int) -> None:
        self.live -= nbytes
        self._known.pop(key, None)
