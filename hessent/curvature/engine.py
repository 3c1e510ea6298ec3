"""`HessianEngine`: Hessian products of all blocks, streamed over micro-batches.

A pass visits every micro-batch once and answers any number of requests (block, columns) from its one graph.  If
the graphs of all micro-batches fit in the memory allowed they are kept, and a product costs only the second
backward pass (2.0 gradients at best); otherwise each pass rebuilds them, and the more vectors a pass serves, the
less the rebuilding weighs.  How the data is cut into micro-batches changes results by rounding only: partial
products are summed in float64 and divided once by the number of items.

The curvature of N items is an average over groups of them, H = Σ_G n_G H_G / N.  Where the data is divided, it is
streamed group by group, so that every product passes through its parts H_G V: the error of having just this data
can be told from them at no extra product.

Where the problem has a metric P, a product is P^{-1/2} H P^{-1/2} V, and its parts likewise; what engines multiply
with, and what is timed and checked, is H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.block_operator import BlockOperator
from hessent.curvature.blocks import Block
from hessent.curvature.containers import num_samples
from hessent.curvature.engines.catalogue import AUTO, EngineKind, engine_kind
from hessent.curvature.engines.choosing import choose_engine
from hessent.curvature.engines.double_backward import DoubleBackward, gradient_graph_bytes
from hessent.curvature.engines.micro_batch import MicroBatch
from hessent.curvature.engines.threads import choose_threads
from hessent.curvature.finite import is_finite
from hessent.curvature.groups import GroupSums, divide, in_groups
from hessent.curvature.non_finite_product import non_finite_product
from hessent.curvature.operator import Product
from hessent.curvature.out_of_memory import HeldNotes, ShrinkableBatches, retried
from hessent.curvature.problem import Problem
from hessent.errors import UsageError

Result = TypeVar("Result")


class HessianEngine:
    """Serves Hessian products for every block of a problem.

    Parameters
    ----------
    problem : Problem
        With its loss measured (`measure_loss`).
    memory : int
        Bytes that what engines keep (gradient graphs, linear maps) may take.
    engine : str
        A name of `engines.catalogue`; `auto` is settled by `choose`, and double backward until then.
    num_groups : int
        Groups into which the data is divided: contiguous runs of whole samples, of nearly equal size.  Below 2,
        and where a group would hold no item, it stays undivided.
    notify : callable, optional
        Told one sentence where memory does not suffice and the work goes on otherwise; without it, such sentences
        wait for `notify` to be set.

    Attributes
    ----------
    engine : str
        What is used.
    why : str
        Why, one line.
    graph_bytes : int
        Bytes that is kept of all micro-batches, where it is kept.
    keeps_graphs : bool
        Whether it is kept between passes.
    division : Division
        The groups of the data.

    Raises
    ------
    UsageError
        If there is no such engine, or it cannot be built within memory.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        memory: int,
        engine: str = AUTO,
        num_groups: int = 1,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._wanted = engine
        self._notes = HeldNotes(problem.notes)
        if notify is not None:
            self.notify = notify
        self._batches = ShrinkableBatches(problem.batches)
        self.problem = problem.recut(self._batches)
        self.memory = memory
        self.why = "asked for" if engine != AUTO else "not tuned"
        self.division = divide(problem, num_groups)
        self._kept: list[tuple[int, MicroBatch]] = []
        self._use(engine_kind("retained" if engine == AUTO else engine))

    @property
    def engine(self) -> str:
        """Name of the engine in use: double backward whose graphs are not kept is `lockstep`."""
        return "lockstep" if self._kind.name == "retained" and not self.keeps_graphs else self._kind.name

    @property
    def notify(self) -> Callable[[str], None]:
        """Whoever is told where memory does not suffice."""
        return self._notes.tell

    @notify.setter
    def notify(self, listener: Callable[[str], None]) -> None:
        self._notes.listen(listener)

    @property
    def group_items(self) -> NDArray[np.int64] | None:
        """Items n_G of every data group, shape (g,); None where the data is undivided."""
        return self.division.items

    def choose(self, work: Sequence[tuple[Block, int]], *, together: int = 1) -> None:
        """Settle what was left open by timing it on the first micro-batch.

        On a CPU that is the number of threads as well: small layers gain little from a second one, and lose
        everything to it where other programs want the cores.  The number is set for the whole process.

        Parameters
        ----------
        work : sequence of (Block, int)
            Blocks that stand for all, the widest first, with the products planned with their like.
        together : int
            Vectors that share a pass over the data.
        """
        if self.problem.device.type == "cpu" and torch.get_num_threads() > 1:
            widest = work[0][0]
            self._retried(lambda: self._choose_threads(widest))
        if self._wanted == AUTO:
            choice = self._retried(
                lambda: choose_engine(
                    self.problem, *self._first_batch(), work, together=together, memory=self.memory
                )
            )
            self._kept = []
            self._use(engine_kind(choice.engine))
            self.why = choice.why

    def _choose_threads(self, block: Block) -> None:
        batch, _ = self._first_batch()
        choose_threads(lambda: DoubleBackward(self.problem, *batch), batch[0], self.problem, block)

    def adopt(self, engine: str, why: str) -> None:
        """Take over what another run with the same problem and machine has settled, instead of `choose`.

        Parameters
        ----------
        engine : str
            A name of `engines.catalogue`.
        why : str
            Why it was chosen, as that run says.

        Raises
        ------
        UsageError
            If there is no such engine.
        """
        self._kept = []
        self._use(engine_kind(engine))
        self.why = why

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
            If memory is exhausted with a single sample at a time.
        NonFiniteError
            If a product is not finite; names the block, the micro-batch and the parameter tensor.
        """
        products = self._retried(lambda: self._one_pass(requests))
        for (block, V), product in zip(requests, products, strict=True):
            if not is_finite(product.total):
                raise non_finite_product(self.problem, block, self._before(block, V), self.engine)
        return products

    def _one_pass(self, requests: Sequence[tuple[Block, Tensor]]) -> list[Product]:
        sums = [GroupSums(V, self.division, self.problem.dtype) for _, V in requests]
        order = self._order([block for block, _ in requests])
        for group, graph in self._graphs():
            for position, needed_later in order:
                block, V = requests[position]
                for start in range(0, V.shape[1], self._kind.at_once):
                    # Never more vectors at once than the engine takes: what it takes and returns is gone at once.
                    columns = slice(start, start + self._kind.at_once)
                    vectors = self._before(block, V[:, columns]).to(self.problem.dtype)
                    sums[position].add(group, columns, graph.products(block, vectors))
                if not self.keeps_graphs:
                    graph.release(needed_later)
        products = [parts.product(self.problem.num_items) for parts in sums]
        if self.problem.metric is not None:
            for (block, _), product in zip(requests, products, strict=True):
                for found in (product.total, product.groups):
                    if found is not None:
                        self.problem.metric.scale_(block, found)
        return products

    def _before(self, block: Block, columns: Tensor) -> Tensor:
        """Return the columns that the curvature itself is multiplied with: scaled where there is a metric."""
        metric = self.problem.metric
        return columns if metric is None else metric.scale_(block, columns.clone())

    def _order(self, blocks: Sequence[Block]) -> list[tuple[int, frozenset[str]]]:
        """Order blocks from the inputs on, and name the parameters that those after each will need.

        A block at the inputs needs the whole graph, one at the outputs only its end: what no later block needs can
        be released.
        """
        place = {name: index for index, name in enumerate(self.problem.parameters)}
        positions = sorted(range(len(blocks)), key=lambda i: min(place[name] for name in blocks[i].parameters))
        return [
            (position, frozenset(name for later in positions[rank + 1 :] for name in blocks[later].parameters))
            for rank, position in enumerate(positions)
        ]

    def gradient(self) -> dict[str, Tensor]:
        """Return the gradient of the mean loss, by parameter, in float64."""
        return self._retried(self._gradient)

    def _gradient(self) -> dict[str, Tensor]:
        totals: dict[str, Tensor] = {}
        for _, graph in self._graphs():
            for name, gradient in graph.gradients.items():
                part = gradient.detach().double() / self.problem.num_items
                totals[name] = totals[name] + part if name in totals else part
        return totals

    def retried(self, work: Callable[[Problem], Result]) -> Result:
        """Return what other work on the same data gives, done again with less kept where memory runs out."""
        return self._retried(lambda: work(self.problem))

    def operator(self, block: Block) -> BlockOperator:
        """Return the block as an operator."""
        return BlockOperator(self, block)

    def _micro_batches(self) -> Iterator[tuple[int, tuple[Any, Any]]]:
        """Yield the number of the data group with every micro-batch that lies in it."""
        return in_groups(self.problem.micro_batches(), self.division.ends)

    def _graphs(self) -> Iterator[tuple[int, MicroBatch]]:
        if self._kept:
            yield from self._kept
            return
        graphs: list[tuple[int, MicroBatch]] = []
        for group, (inputs, targets) in self._micro_batches():
            graph = self._kind.build(self.problem, inputs, targets)
            if self.keeps_graphs:
                graphs.append((group, graph))
            yield group, graph
        self._kept = graphs

    def _first_batch(self) -> tuple[tuple[Any, Any], float]:
        """The first micro-batch, and its share of the samples."""
        _, batch = next(self._micro_batches())
        return batch, max(num_samples(batch[0]), 1) / max(self.problem.num_samples, 1)

    def _use(self, kind: EngineKind) -> None:
        """Go over to an engine, and see whether what it keeps of all micro-batches fits."""
        self._kind = kind
        one, share = self._retried(self._measure_graph)
        self.graph_bytes = int(kind.kept_over_graph * one / share)
        self.keeps_graphs = kind.kept and self.graph_bytes <= self.memory
        while kind.building_over_graph * one > self.memory - self.keeps_graphs * self.graph_bytes:
            self._make_room_to_build(int(kind.building_over_graph * one))
            one, _ = self._retried(self._measure_graph)

    def _measure_graph(self) -> tuple[int, float]:
        """Bytes of the gradient graph of the first micro-batch, and its share of the samples."""
        batch, share = self._first_batch()
        return gradient_graph_bytes(self.problem, batch), share

    def _make_room_to_build(self, nbytes: int) -> None:
        """Where an engine that was asked for takes too much while it is built: smaller micro-batches, or keep none.

        Raises
        ------
        UsageError
            If a single sample is too much, with nothing kept.
        """
        name = self._kind.name
        if self._batches.largest > 1:
            size = self._batches.halve()
            self.notify(f"{name} is built within memory: micro-batches of at most {size:,} samples")
        elif self.keeps_graphs:
            self.keeps_graphs = False
            self.notify(f"{name} is built anew on every pass, so that it stays within memory")
        else:
            raise UsageError(
                f"{name} takes about {nbytes / 2**20:,.0f} MiB while it is built for a single sample; "
                f"{self.memory / 2**20:,.0f} MiB are allowed for it",
                where="--engine",
                fix="--engine auto, or a larger --memory",
            )

    def _retried(self, work: Callable[[], Result]) -> Result:
        return retried(work, self._make_room)

    def _make_room(self) -> None:
        """Keep less where memory ran out: first no graphs between passes, then smaller micro-batches.

        Raises
        ------
        ComputationError
            If a single sample at a time is too much.
        """
        if self._kept:
            self._kept, self.keeps_graphs = [], False
            self.notify("memory ran out: gradient graphs are rebuilt on every pass")
            return
        size = self._batches.halve()
        self.notify(f"memory ran out: going on with micro-batches of at most {size:,} samples")
