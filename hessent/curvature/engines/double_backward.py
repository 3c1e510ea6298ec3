"""One micro-batch's gradient graph, and the products that go through it.

The graph holds the forward pass and the first backward pass with `create_graph=True`; a Hessian product is one
further backward pass through it:  H_bb v = ∂(g_b · v)/∂θ_b.  Inputs and outputs restricted to the block make the
pass visit only the layers between the block and the loss, so products get cheaper towards the output.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.engines.exclusions import refuse_batches
from hessent.curvature.engines.graph_memory import GraphMemory
from hessent.curvature.engines.micro_batch import MicroBatch, unflatten
from hessent.curvature.problem import Problem, exact_derivatives


class DoubleBackward(MicroBatch):
    """The graph of the summed objective of one micro-batch and of its gradient.

    Parameters
    ----------
    problem : Problem
        Defines loss and parameters.
    inputs, targets
        The micro-batch, already on the device.
    at_once : int
        Vectors per backward pass; above 1 they are batched (vmap).
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any, *, at_once: int = 1) -> None:
        super().__init__(problem, inputs, targets)
        self._at_once = at_once
        with torch.enable_grad(), exact_derivatives(problem.model):
            total = problem.objective_sum(inputs, targets)
            names, parameters = list(problem.parameters), list(problem.parameters.values())
            gradients = torch.autograd.grad(total, parameters, create_graph=True, materialize_grads=True)
        if at_once > 1:
            refuse_batches(gradients)
        self._gradients: dict[str, Tensor] = dict(zip(names, gradients, strict=True))

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradient of the summed objective, by parameter, attached to the graph."""
        return self._gradients

    def products(self, block: Block, V: Tensor) -> Tensor:
        """Return the product of the summed Hessian's principal submatrix with columns (n_b, k)."""
        inputs = [self.problem.parameters[name] for name in block.parameters]
        attached = [
            (position, self.gradients[name])
            for position, name in enumerate(block.parameters)
            if self.gradients[name].requires_grad
        ]
        if not attached:  # the loss is linear in this block: its Hessian is zero
            return torch.zeros_like(V)
        positions, outputs = zip(*attached, strict=True)
        # Vectors lie in rows, one after the other: strided ones cost a fifth of a product more.
        vectors = V.T.contiguous()
        rows = []
        with exact_derivatives(self.problem.model):
            for some in torch.split(vectors, self._at_once):
                parts = unflatten(some.T, inputs)
                rows.append(_backward(outputs, inputs, [parts[position] for position in positions]))
        return (rows[0] if len(rows) == 1 else torch.cat(rows)).T

    def release(self, parameters: Collection[str]) -> None:
        """Drop the gradients of all other parameters, and with them their part of the first backward pass."""
        self._gradients = {name: self._gradients[name] for name in parameters}


def _backward(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> Tensor:
    """Second backward pass for the k cotangents (k, *shape), as rows (k, n_b).

    The rows are made after the pass: while it runs, nothing is held for them.
    """
    k = len(cotangents[0])
    with warnings.catch_warnings():
        # vmap warns where an operation has no batching rule and is looped over: right, only slower.
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        found: Sequence[Any] = torch.autograd.grad(
            outputs,
            inputs,
            cotangents if k > 1 else [cotangent[0] for cotangent in cotangents],
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=k > 1,
        )
    # The loss may not reach a parameter: its part is zero.
    return torch.cat(
        [
            parameter.new_zeros(k, parameter.numel()) if part is None else part.reshape(k, -1)
            for parameter, part in zip(inputs, found, strict=True)
        ],
        dim=1,
    )


def gradient_graph_bytes(problem: Problem, batch: tuple[Any, Any]) -> int:
    """Return the bytes that the gradient graph of a micro-batch (inputs, targets) keeps."""
    with GraphMemory() as counter:
        graph = DoubleBackward(problem, *batch)
    nbytes = counter.nbytes
    del graph  # it had to live until then
    return nbytes
