"""Working on the blocks of a run: a first look at each, then refinement in order of need, until all are finished.

Which blocks this process may work on is for the units to say.  Blocks that others hold are left out of a turn and
asked for again at the end: what a process that died has left is taken over from its last state.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.operator import Product
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import Products
from hessent.eigensolver.scheduler import run_solvers, widest_first
from hessent.pipeline.direct_blocks import PassStoppedError
from hessent.pipeline.observer import Observer
from hessent.pipeline.served_products import ServedProducts
from hessent.pipeline.units import Stage, Units
from hessent.spectra.model import BlockSpectrum

_PATIENCE = 0.5  # seconds between two looks at what other processes have finished


class BlockWork:
    """The solvers of a run's blocks.

    Parameters
    ----------
    solvers : mapping of BlockSolver to Block
        In the model's order.
    products : ServedProducts
        Who multiplies.
    units : Units
        Which blocks may be worked on, and which are finished.
    observer : Observer
        Told of progress.
    should_stop : callable
        Asked before every pass.
    workers : Executor, optional
        Where solvers work between products.
    """

    def __init__(
        self,
        solvers: dict[BlockSolver, Block],
        products: ServedProducts,
        units: Units,
        observer: Observer,
        *,
        should_stop: Callable[[], bool],
        workers: Executor | None,
    ) -> None:
        self._blocks = solvers
        self._products = products
        self._units = units
        self._observer = observer
        self._should_stop = should_stop
        self._workers = workers

    def run(self) -> bool:
        """Do all there is to do; False if the work was stopped, in which case it is left to whoever goes on."""
        with contextlib.suppress(PassStoppedError):
            if self._look() and self._finish():
                return True
        self._units.park()
        for solver in self._blocks:
            solver.stop("stopped early")
        return False

    def spectra(self) -> tuple[BlockSpectrum, ...]:
        """Return what is known so far, in the model's order; a block without an estimate is left out."""
        known = [self._units.finished.get(solver.name, solver.spectrum) for solver in self._blocks]
        return tuple(spectrum for spectrum in known if spectrum is not None)

    def _look(self) -> bool:
        """Take a first look at every block; False if the work was stopped."""
        self._units.stage = Stage.LOOK
        self._units.adopt()
        new = self._unfinished()
        self._observer.started("first look", sum(min(s.planned_matvecs(), 100) for s in new))
        # Cheap blocks first: the table fills while the whole matrix is still being looked at.
        if not self._work(sorted(new, key=lambda s: s.size), BlockSolver.first_look):
            return False
        known = self.spectra()
        if len(known) == len(self._blocks):
            self._observer.first_look(known)
        return True

    def _finish(self) -> bool:
        """Finish every block, those of other processes that died included; False if the work was stopped."""
        self._units.stage = Stage.FINISH
        self._observer.started("refining", sum(s.planned_matvecs() for s in self._unfinished()))
        told = False
        while left := self._unfinished():
            if not self._work(widest_first(left), _whole):
                return False
            self._units.adopt()
            still = self._unfinished()
            if len(still) == len(left):
                if self._should_stop():
                    return False
                if not told:
                    self._observer.noted(f"waiting for other processes: {len(still):,} blocks are theirs")
                    told = True
                time.sleep(_PATIENCE)
        return True

    def _unfinished(self) -> list[BlockSolver]:
        return [solver for solver in self._blocks if solver.name not in self._units.finished]

    def _work(self, solvers: Sequence[BlockSolver], stage: Callable[[BlockSolver], Products[None]]) -> bool:
        return run_solvers(
            solvers,
            stage,
            self._multiply,
            together=not self._products.engine.keeps_graphs,
            should_stop=self._should_stop,
            progress=lambda solver, matvecs: self._observer.advanced(solver.name, matvecs),
            refined=self._refined,
            workers=self._workers,
            turns=self._units,
        )

    def _multiply(self, requests: Sequence[tuple[BlockSolver, Tensor]]) -> list[Product]:
        return self._products.answer([(self._blocks[s], columns, s.wants_groups) for s, columns in requests])

    def _refined(self, solver: BlockSolver) -> None:
        if solver.spectrum is not None:
            self._observer.refined(solver.spectrum)


def _whole(solver: BlockSolver) -> Products[None]:
    """Finish a block; one that nobody has looked at is looked at first, as everywhere."""
    if solver.spectrum is None:
        yield from solver.first_look()
    yield from solver.finish()
