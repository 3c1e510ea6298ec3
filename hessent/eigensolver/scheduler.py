"""Running the solvers of all blocks against one engine.

Where gradient graphs are kept between passes, one block advances at a time: always the one with the widest
interval, until it has published a better spectrum.  Where every pass rebuilds the graphs, all solvers advance
together, so that one pass over the data serves every block.  Between passes the caller may stop the work; what was
published until then stands.

What a solver does between two products (orthogonalisation, small eigenvalue problems) can go on in another thread
while the next block's products are computed: no number depends on it, and on two cores it costs next to no time.
The block that fills this time is the one with the most left to do: so none is left alone at the end, with nobody to
fill its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

import torch
from torch import Tensor

from hessent.curvature.operator import Product
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import Products
from hessent.errors import NonFiniteError

Requests = Sequence[tuple[BlockSolver, Tensor]]
Multiply = Callable[[Requests], list[Product]]


class Turns:
    """Which blocks may be worked on, and what becomes of the work; here all of them, and nothing.

    `paused` is told where the solver works, which may be another thread than that of `admits` and `ended`; of one
    solver, never two at the same time.
    """

    def admits(self, solver: BlockSolver) -> bool:
        """Whether a solver that has not begun the stage may begin it; one that may not is left out of it."""
        return True

    def paused(self, solver: BlockSolver) -> None:
        """Take note that a solver waits for a product."""

    def left(self, solver: BlockSolver) -> None:
        """Take note that a solver that waits for a product gives way to another, for as long as that takes."""

    def ended(self, solver: BlockSolver) -> None:
        """Take note that a solver has come to the end of the stage."""


def run_solvers(
    solvers: Sequence[BlockSolver],
    stage: Callable[[BlockSolver], Products[None]],
    multiply: Multiply,
    *,
    together: bool,
    should_stop: Callable[[], bool],
    progress: Callable[[BlockSolver, int], None],
    refined: Callable[[BlockSolver], None],
    workers: Executor | None = None,
    turns: Turns | None = None,
) -> bool:
    """Run one stage of every solver.

    Parameters
    ----------
    solvers : sequence of BlockSolver
        Those of equal need are worked on in this order.
    stage : callable
        Returns a solver's generator: its first look, or its refinement.
    multiply : callable
        Answers requests (solver, columns) from one pass over the data.
    together : bool
        Whether all solvers advance at once.
    should_stop : callable
        Asked before every pass.
    progress : callable
        Told the solver and the number of products after every pass.
    refined : callable
        Told the solver each time it has published a better spectrum.
    workers : Executor, optional
        Where solvers work between products; without, they do so in turn with the products.
    turns : Turns, optional
        Asked before a solver begins, and told where it stands.

    Returns
    -------
    bool
        False if the work was stopped.

    Raises
    ------
    NonFiniteError
        If a product holds NaN or infinity; names block and product.
    """
    turns = turns or Turns()
    line = _Line(solvers, stage, refined, workers, turns)
    chosen: BlockSolver | None = None
    try:
        while line.busy:
            line.collect(all_of_them=together)
            if should_stop():
                line.collect(all_of_them=True)
                return False
            before = chosen
            if chosen in line.published or chosen not in line.unfinished:
                chosen = None
            line.published.clear()
            ready = line.ready
            if not ready:
                continue
            chosen = chosen or widest_first(ready)[0]
            if before in line.waiting and before is not chosen and not together:
                turns.left(before)
            if together:
                line.begin(*ready)
                requests = list(line.waiting.items())
            else:
                now = chosen if chosen in ready else longest_first(ready)[0]
                line.begin(now)
                requests = [(now, line.waiting[now])] if now in line.waiting else []
            if requests:
                products = multiply(requests)
                for (solver, columns), product in zip(requests, products, strict=True):
                    _refuse_non_finite(solver, product)
                    progress(solver, columns.shape[1])
                    line.send(solver, product)
        return True
    finally:
        line.close()


class _Line:
    """Solvers between products: who has not begun, who waits for a product, who is at work, who has finished.

    Attributes
    ----------
    waiting : dict of BlockSolver to Tensor
        The columns each asks for.
    published : set of BlockSolver
        Those that have published a better spectrum since somebody cleared it.
    """

    def __init__(
        self,
        solvers: Sequence[BlockSolver],
        stage: Callable[[BlockSolver], Products[None]],
        refined: Callable[[BlockSolver], None],
        workers: Executor | None,
        turns: Turns,
    ) -> None:
        self._not_begun = list(solvers)
        self._running: dict[BlockSolver, Products[None]] = {}
        self._stage = stage
        self._refined = refined
        self._workers = workers
        self._turns = turns
        self._at_work: dict[Future[Tensor | None], BlockSolver] = {}
        self._before = {solver: solver.spectrum for solver in solvers}
        self.waiting: dict[BlockSolver, Tensor] = {}
        self.published: set[BlockSolver] = set()

    @property
    def busy(self) -> bool:
        """Whether anybody has not finished."""
        return bool(self._not_begun or self._running)

    @property
    def unfinished(self) -> set[BlockSolver]:
        """Those that have not finished."""
        return {*self._not_begun, *self._running}

    @property
    def ready(self) -> list[BlockSolver]:
        """Those that are not at work: they can be given a product, or can begin."""
        return [*self.waiting, *self._not_begun]

    def begin(self, *solvers: BlockSolver) -> None:
        """Let those of the solvers begin that have not, and may; it says what they ask for first."""
        for solver in solvers:
            if solver not in self._not_begun:
                continue
            self._not_begun.remove(solver)
            if self._turns.admits(solver):
                self._before[solver] = solver.spectrum
                generator = self._running[solver] = self._stage(solver)
                self._settle(solver, self._advance(solver, generator, None))

    def send(self, solver: BlockSolver, product: Product) -> None:
        """Hand a solver its product."""
        del self.waiting[solver]
        generator = self._running[solver]
        if self._workers is None:
            self._settle(solver, self._advance(solver, generator, product))
        else:
            self._at_work[self._workers.submit(self._advance, solver, generator, product)] = solver

    def collect(self, *, all_of_them: bool) -> None:
        """Take back those that have done their work; where nobody else is ready, wait for one of them."""
        if all_of_them:
            wait(self._at_work)
        elif not self.ready:
            wait(self._at_work, return_when=FIRST_COMPLETED)
        for future in [future for future in self._at_work if future.done()]:
            self._settle(self._at_work.pop(future), future.result())

    def close(self) -> None:
        """End all work."""
        wait(self._at_work)
        for generator in self._running.values():
            generator.close()

    def _settle(self, solver: BlockSolver, columns: Tensor | None) -> None:
        """Note what a solver asks for next, None where it has finished, and tell of what it has published."""
        if columns is None:
            del self._running[solver]
        else:
            self.waiting[solver] = columns
        if solver.spectrum is not self._before[solver]:
            self._before[solver] = solver.spectrum
            self.published.add(solver)
            self._refined(solver)
        if columns is None:
            self._turns.ended(solver)

    def _advance(self, solver: BlockSolver, generator: Products[None], product: Product | None) -> Tensor | None:
        """Send a product to a solver; return what it asks for next, None when it has finished.

        A state that is saved then costs no time where this goes on beside the products of other blocks.
        """
        try:
            columns = next(generator) if product is None else generator.send(product)
        except StopIteration:
            return None
        self._turns.paused(solver)
        return columns


def _refuse_non_finite(solver: BlockSolver, product: Product) -> None:
    if not bool(torch.isfinite(product.total).all()):
        raise NonFiniteError(
            f"a product with block '{solver.name}' is not finite",
            expected="finite second derivatives at the checkpoint's weights",
            fix="--dtype float64, or look for overflow in the model's activations",
        )


def longest_first(solvers: Sequence[BlockSolver]) -> list[BlockSolver]:
    """Order solvers by how much work is left, falling: products to come, times the parameters of each."""
    return sorted(solvers, key=lambda solver: solver.planned_matvecs() * solver.size, reverse=True)


def widest_first(solvers: Sequence[BlockSolver]) -> list[BlockSolver]:
    """Order solvers by how much they have to gain: unknown blocks, then falling relative half-width."""
    return sorted(solvers, key=lambda solver: solver.width, reverse=True)
