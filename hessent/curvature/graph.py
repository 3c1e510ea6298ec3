"""One micro-batch's gradient graph, and the products that go through it.

The graph holds the forward pass and the first backward pass with `create_graph=True`; a Hessian product is one
further backward pass through it:  H_bb v = ∂(g_b · v)/∂θ_b.  Inputs and outputs restricted to the block make the
pass visit only the layers between the block and the loss, so products get cheaper towards the output.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.problem import Problem, exact_derivatives


class MicroBatchGraph:
    """The graph of the summed loss of one micro-batch and of its gradient.

    Parameters
    ----------
    problem : Problem
        Defines loss and parameters.
    inputs, targets
        The micro-batch, already on the device.

    Attributes
    ----------
    gradients : dict of str to Tensor
        Gradient of the SUMMED loss per parameter, attached to the graph.
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any) -> None:
        self.problem = problem
        with torch.enable_grad(), exact_derivatives(problem.model):
            total, self.num_items = problem.loss_sum(inputs, targets)
            names, parameters = list(problem.parameters), list(problem.parameters.values())
            gradients = torch.autograd.grad(total, parameters, create_graph=True, materialize_grads=True)
        self.gradients: dict[str, Tensor] = dict(zip(names, gradients, strict=True))

    def products(self, block: Block, V: Tensor, *, at_once: int) -> Tensor:
        """Return the product of this micro-batch's summed Hessian block with columns.

        Parameters
        ----------
        block : Block
            Which principal submatrix.
        V : Tensor
            Columns of shape (n_b, k), in the problem's dtype.
        at_once : int
            Vectors per backward pass; above 1 they are batched (vmap).

        Returns
        -------
        Tensor
            Shape (n_b, k).
        """
        inputs = [self.problem.parameters[name] for name in block.parameters]
        attached = [
            (position, self.gradients[name])
            for position, name in enumerate(block.parameters)
            if self.gradients[name].requires_grad
        ]
        if not attached:  # the loss is linear in this block: its Hessian is zero
            return torch.zeros_like(V)
        positions, outputs = zip(*attached, strict=True)
        columns: list[Tensor] = []
        with exact_derivatives(self.problem.model):
            for chunk in torch.split(V, at_once, dim=1):
                parts = _unflatten(chunk, inputs)
                columns.append(_backward(outputs, inputs, [parts[position] for position in positions]))
        return torch.cat(columns, dim=1)


def _unflatten(V: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut columns (n_b, k) into one tensor of shape (k, *shape) per parameter."""
    pieces = torch.split(V.T, [parameter.numel() for parameter in like], dim=1)
    return [piece.reshape(-1, *parameter.shape) for piece, parameter in zip(pieces, like, strict=True)]


def _backward(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> Tensor:
    """Second backward pass for the k cotangents (k, *shape), joined to columns (n_b, k)."""
    k = cotangents[0].shape[0]
    if k == 1:
        found = torch.autograd.grad(
            outputs,
            inputs,
            [cotangent[0] for cotangent in cotangents],
            retain_graph=True,
            materialize_grads=True,
        )
        return torch.cat([part.reshape(-1) for part in found])[:, None]
    with warnings.catch_warnings():
        # vmap warns where an operation has no batching rule and is looped over: right, only slower.
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        found = torch.autograd.grad(
            outputs, inputs, cotangents, retain_graph=True, materialize_grads=True, is_grads_batched=True
        )
    return torch.cat([part.reshape(k, -1) for part in found], dim=1).T


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
