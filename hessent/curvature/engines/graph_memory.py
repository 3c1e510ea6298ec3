"""Bytes that a gradient graph keeps, counted where autograd keeps them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

_weak_reference: Any = StorageWeakRef  # torch gives it no types


class GraphMemory:
    """Counts the bytes that a graph built under it keeps, as long as the graph lives.

    It sees the tensors themselves, on any device, where the operating system's figures and `tracemalloc` do not.
    Tensors that live anyway (parameters) count too, which errs on the safe side; those that autograd lets go of
    when the graph is finished do not.
    """

    def __init__(self) -> None:
        self._storages: list[tuple[Any, int]] = []
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages.append((_weak_reference(storage), storage.nbytes()))
        # Detached: a result that its own operation keeps would hold that operation, and the graph never be freed.
        return tensor.detach()

    @staticmethod
    def _unpack(tensor: Tensor) -> Tensor:
        return tensor

    def __enter__(self) -> GraphMemory:
        """Start counting."""
        self._hooks.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        """Stop counting."""
        self._hooks.__exit__(None, None, None)

    @property
    def nbytes(self) -> int:
        """Bytes held now, shared storages counted once."""
        alive: dict[int, int] = {
            reference.cdata: size for reference, size in self._storages if not reference.expired()
        }
        return sum(alive.values())
