"""`HessianEngine`: Hessian products of all blocks, streamed over micro-batches.

A pass visits every micro-batch once and answers any number of requests (block, columns) from its one graph.  If
the graphs of all micro-batches fit in the memory allowed they are kept, and a product costs only the second
backward pass (2.0 gradients at best); otherwise each pass rebuilds them, and the more vectors a pass serves, the
less the rebuilding weighs.  How the data is cut into micro-batches changes results by rounding only: partial
products are summed in float64 and divided once by the number of items.

The curvature of N items is an average over groups of them, H = Σ_G n_G H_G / N.  Where the data is divided, it is
streamed group by group, so that every product passes through its parts H_G V: the error of having just this data
can be told from them at no extra product.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.containers import num_samples
from hessent.curvature.graph import GraphMemory, MicroBatchGraph
from hessent.curvature.groups import GroupSums, divide, in_groups
from hessent.curvature.operator import Product, SymmetricOperator
from hessent.curvature.problem import Problem
from hessent.errors import ComputationError, UsageError

ENGINES = ("auto", "retained", "batched")
_AT_ONCE = 16  # vectors per batched backward pass; on two CPU cores nothing was gained beyond


class HessianEngine:
    """Serves Hessian products for every block of a problem.

    Parameters
    ----------
    problem : Problem
        With its loss measured (`measure_loss`).
    memory : int
        Bytes that gradient graphs may take.
    engine : str
        `retained` (one vector per backward pass), `batched` (several through vmap) or `auto` (both are timed on
        the first micro-batch and the faster is kept).
    num_groups : int
        Groups into which the data is divided: contiguous runs of whole samples, of nearly equal size.  Below 2,
        and where a group would hold no item, it stays undivided.

    Attributes
    ----------
    engine : str
        What was chosen.
    graph_bytes : int
        Bytes that the graphs of all micro-batches take.
    keeps_graphs : bool
        Whether they are kept between passes.
    division : Division
        The groups of the data.
    """

    def __init__(self, problem: Problem, *, memory: int, engine: str = "auto", num_groups: int = 1) -> None:
        if engine not in ENGINES:
            raise UsageError(f"'{engine}' is not an engine", where="--engine", expected=" | ".join(ENGINES))
        self.problem = problem
        self.memory = memory
        self.engine = engine
        self.division = divide(problem, num_groups)
        self._kept: list[tuple[int, MicroBatchGraph]] = []
        self.graph_bytes = self._measure_graphs()
        self.keeps_graphs = self.graph_bytes <= memory

    @property
    def group_items(self) -> NDArray[np.int64] | None:
        """Items n_G of every data group, shape (g,); None where the data is undivided."""
        return self.division.items

    @property
    def at_once(self) -> int:
        """Vectors per backward pass."""
        return _AT_ONCE if self.engine == "batched" else 1

    def choose(self, block: Block) -> None:
        """Settle what was left open by timing it on the first micro-batch with a few vectors of `block`.

        On a CPU that is the number of threads as well: small layers gain little from a second one, and lose
        everything to it where other programs want the cores.  The number is set for the whole process.
        """
        _, graph = self._kept[0] if self._kept else next(self._graphs())
        generator = torch.Generator().manual_seed(0)
        V = torch.randn(block.size, _AT_ONCE, generator=generator).to(self.problem.device, self.problem.dtype)
        if self.problem.device.type == "cpu" and torch.get_num_threads() > 1:
            self._choose_threads(graph, block, V[:, :2])
        if self.engine == "auto":
            self._choose_engine(graph, block, V)

    def _choose_threads(self, graph: MicroBatchGraph, block: Block, V: Tensor) -> None:
        many = torch.get_num_threads()
        torch.set_num_threads(1)
        alone = self._time(graph, block, V, 1)[1]
        torch.set_num_threads(many)
        if alone < self._time(graph, block, V, 1)[1]:
            torch.set_num_threads(1)

    def _choose_engine(self, graph: MicroBatchGraph, block: Block, V: Tensor) -> None:
        alone, seconds_alone = self._time(graph, block, V[:, :4], 1)
        try:
            together, seconds_together = self._time(graph, block, V, _AT_ONCE)
        except (RuntimeError, ValueError):
            # An operation that vmap cannot batch: one vector at a time is always possible.
            self.engine = "retained"
            return
        agree = torch.allclose(alone, together[:, :4], rtol=1e-3, atol=1e-4 * float(alone.abs().max()))
        faster = seconds_together / _AT_ONCE < seconds_alone / 4
        self.engine = "batched" if agree and faster else "retained"

    def products(self, requests: Sequence[tuple[Block, Tensor]]) -> list[Product]:
        """Answer all requests from one pass over the data.

        Parameters
        ----------
        requests : sequence of (Block, Tensor)
            Blocks with columns of shape (n_b, k_b).

        Returns
        -------
        list of Product
            H_bb V per request, of the mean loss, in the dtype of the request's columns; where the data is divided,
            also the products (g, n_b, k_b) with the mean curvature of every group, in the problem's dtype.

        Raises
        ------
        ComputationError
            If memory is exhausted.
        """
        sums = [GroupSums(V, self.division, self.problem.dtype) for _, V in requests]
        narrow = [V.to(self.problem.dtype) for _, V in requests]
        try:
            for group, graph in self._graphs():
                for (block, _), V, parts in zip(requests, narrow, sums, strict=True):
                    parts.add(group, graph.products(block, V, at_once=self.at_once))
        except RuntimeError as error:
            raise _as_out_of_memory(error) from error
        return [parts.product(self.problem.num_items) for parts in sums]

    def gradient(self) -> dict[str, Tensor]:
        """Return the gradient of the mean loss, by parameter, in float64."""
        totals: dict[str, Tensor] = {}
        for _, graph in self._graphs():
            for name, gradient in graph.gradients.items():
                part = gradient.detach().double() / self.problem.num_items
                totals[name] = totals[name] + part if name in totals else part
        return totals

    def operator(self, block: Block) -> BlockOperator:
        """Return the block as an operator."""
        return BlockOperator(self, block)

    def _micro_batches(self) -> Iterator[tuple[int, tuple[Any, Any]]]:
        """Yield the number of the data group with every micro-batch that lies in it."""
        return in_groups(self.problem.micro_batches(), self.division.ends)

    def _graphs(self) -> Iterator[tuple[int, MicroBatchGraph]]:
        if self._kept:
            yield from self._kept
            return
        graphs: list[tuple[int, MicroBatchGraph]] = []
        for group, (inputs, targets) in self._micro_batches():
            graph = MicroBatchGraph(self.problem, inputs, targets)
            if self.keeps_graphs:
                graphs.append((group, graph))
            yield group, graph
        self._kept = graphs

    def _measure_graphs(self) -> int:
        """Bytes of all graphs, from the first one and the number of samples."""
        _, (inputs, targets) = next(self._micro_batches())
        with GraphMemory() as counter:
            MicroBatchGraph(self.problem, inputs, targets)
        return counter.nbytes * self.problem.num_samples // max(num_samples(inputs), 1)

    @staticmethod
    def _time(graph: MicroBatchGraph, block: Block, V: Tensor, at_once: int) -> tuple[Tensor, float]:
        """Products and the seconds of the faster of two runs (the first one pays for allocation)."""
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            result = graph.products(block, V, at_once=at_once)
            if result.is_cuda:
                torch.cuda.synchronize(result.device)
            seconds.append(time.perf_counter() - start)
        return result, min(seconds)


class BlockOperator(SymmetricOperator):
    """One diagonal block of the Hessian of the mean loss."""

    def __init__(self, engine: HessianEngine, block: Block) -> None:
        self.engine = engine
        self.block = block
        self.size = block.size
        self.name = block.name
        self.dtype = engine.problem.dtype
        self.device = engine.problem.device
        self.num_matvecs = 0

    def _multiply(self, V: Tensor) -> Tensor:
        return self._divided_product(V).total

    def _divided_product(self, V: Tensor) -> Product:
        return self.engine.products([(self.block, V)])[0]


def _as_out_of_memory(error: RuntimeError) -> Exception:
    """Name an exhausted memory; leave any other error as it is."""
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return ComputationError(
            "memory ran out during a product",
            expected="room for the gradient graph of one micro-batch and its second backward pass",
            fix="a smaller --batch-size or --memory",
        )
    return error
