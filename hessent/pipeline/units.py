"""The blocks of a run as units of work: which are finished, which may be worked on, what is kept of each.

Here they live in memory and belong to one process; `journalled_units` keeps them on disk, where they outlive the
process and are shared with others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.scheduler import Turns
from hessent.errors import HessentError
from hessent.pipeline.settled import Settled
from hessent.spectra.model import BlockSpectrum


class SettledOtherwiseError(HessentError):
    """Another process settled engine or micro-batches at the same moment; its choices stand."""


class Stage(Enum):
    """What is being done with the blocks."""

    LOOK = auto()
    FINISH = auto()


class Units(Turns):
    """The blocks of one process.

    Attributes
    ----------
    finished : dict of str to BlockSpectrum
        Blocks that nothing is left to do with.
    stage : Stage
        Set by the measurement as it goes on.
    """

    def __init__(self) -> None:
        self.finished: dict[str, BlockSpectrum] = {}
        self.stage = Stage.LOOK

    def settle(self, choices: Settled, find_out: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Make the choices those of the run, and return its facts.

        Parameters
        ----------
        choices : Settled
            Those of this process.
        find_out : callable
            Returns facts (JSON values) that are found out once for all processes and resumptions.

        Raises
        ------
        SettledOtherwiseError
            If the run has other choices.
        """
        return find_out()

    def adopt(self) -> None:
        """Look for blocks that other processes have finished."""

    def ended(self, solver: BlockSolver) -> None:
        """Take a finished block over."""
        if solver.spectrum is not None and (self.stage is Stage.FINISH or solver.spectrum.converged):
            self.finished[solver.name] = solver.spectrum

    def park(self) -> None:
        """Keep what is unfinished, and leave it to whoever goes on: the work is being stopped."""
