"""The second backward pass captured once per block in a CUDA graph, and replayed for every vector.

Small networks leave a GPU idle while Python and autograd launch one kernel after another; a replay launches all of
them at once.  The kernels, and so the numbers, are those of double backward.

What capturing asks for (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs):

- autograd runs a node of the second backward pass on the stream of its forward operation, so the first graph is
  built on the very side stream that captures.  Stand-ins for the parameters are made there as well: the parameters'
  own accumulation nodes may remember another stream from an earlier graph;
- what a replay reads lies at fixed addresses: the cotangents in buffers of this object, everything else in the
  first graph, which lives as long as the captured ones;
- captures share one memory pool: no two of them run at once, and results are copied out before the next replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.engines.functional_objective import FunctionalObjective
from hessent.curvature.engines.micro_batch import MicroBatch, unflatten
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.errors import ComputationError

_WARM_UP_RUNS = 3  # libraries choose kernels and allocate work space in the first ones, which a capture must not


@dataclass(frozen=True)
class _Capture:
    """A captured second backward pass: from `cotangents` to `product`, both at fixed addresses."""

    graph: torch.cuda.CUDAGraph
    positions: tuple[int, ...]  # of the block's parameters whose gradient is not constant
    cotangents: list[Tensor]
    product: Tensor


class ReplayedBackward(MicroBatch):
    """The gradient graph of one micro-batch on a GPU, and its captured second backward passes.

    Parameters
    ----------
    problem : Problem
        Defines loss and parameters; on a CUDA device.
    inputs, targets
        The micro-batch, already on the device.

    Raises
    ------
    ComputationError
        If the device is not a CUDA device.
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any) -> None:
        super().__init__(problem, inputs, targets)
        if problem.device.type != "cuda":
            raise ComputationError(
                f"second backward passes cannot be captured on the device '{problem.device}'",
                where="--engine replayed",
                expected="a CUDA device",
                fix="--engine auto",
            )
        self._captures: dict[Block, _Capture | None] = {}
        with torch.cuda.device(problem.device):
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream), torch.enable_grad(), exact_derivatives(problem.model):
                self._leaves = {name: p.detach().requires_grad_() for name, p in problem.parameters.items()}
                total = FunctionalObjective(problem, inputs, targets)(self._leaves)
                gradients = torch.autograd.grad(
                    total, list(self._leaves.values()), create_graph=True, materialize_grads=True
                )
            torch.cuda.current_stream().wait_stream(self._stream)
        self._gradients = dict(zip(self._leaves, gradients, strict=True))

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradient of the summed objective, by parameter, attached to the graph."""
        return self._gradients

    def products(self, block: Block, V: Tensor) -> Tensor:
        """Return the product of the summed Hessian's principal submatrix with columns (n_b, k).

        Raises
        ------
        RuntimeError
            If the second backward pass cannot be captured: it waits for the device, or memory runs out.
        """
        with torch.cuda.device(self.problem.device):
            if block not in self._captures:
                self._captures[block] = self._capture(block)
            capture = self._captures[block]
            if capture is None:  # the loss is linear in this block: its Hessian is zero
                return torch.zeros_like(V)
            columns = torch.empty_like(V)
            parts = unflatten(V, [self._leaves[name] for name in block.parameters])
            for column in range(V.shape[1]):
                for cotangent, position in zip(capture.cotangents, capture.positions, strict=True):
                    cotangent.copy_(parts[position][column])
                capture.graph.replay()
                columns[:, column].copy_(capture.product)
            return columns

    def _capture(self, block: Block) -> _Capture | None:
        inputs = [self._leaves[name] for name in block.parameters]
        attached = [
            (position, self._gradients[name])
            for position, name in enumerate(block.parameters)
            if self._gradients[name].requires_grad
        ]
        if not attached:
            return None
        positions, outputs = zip(*attached, strict=True)

        def second_backward() -> Tensor:
            found = torch.autograd.grad(outputs, inputs, cotangents, retain_graph=True, materialize_grads=True)
            return torch.cat([part.reshape(-1) for part in found])

        with exact_derivatives(self.problem.model):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                cotangents = [torch.zeros_like(output) for output in outputs]
                for _ in range(_WARM_UP_RUNS):
                    second_backward()
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # Errors of this thread only: other threads may load data, and pin its memory, meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                product = second_backward()
        return _Capture(graph, positions, cotangents, product)
