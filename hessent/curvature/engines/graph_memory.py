"""Bytes that a gradient graph keeps, counted where autograd keeps them."""

from __future__ import annotations

import torch
from torch import Tensor


class GraphMemory:
    """Counts the bytes that autograd keeps while a graph is built.

    It sees the tensors themselves, on any device, where the operating system's figures and `tracemalloc` do not.
    Tensors that live anyway (parameters) count too, which errs on the safe side.
    """

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

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
        """Bytes held, shared storages counted once."""
        return sum(self._storages.values())
