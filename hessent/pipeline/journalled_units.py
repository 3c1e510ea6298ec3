"""Units of work on disk: a run that was killed goes on from its last state, and processes share its blocks.

A process holds the claim of a block while it works on it: through the first look, and from its next turn until the
block is finished.  In between others may take it; the state on disk says how far it has come.  States are saved so
seldom that saving takes no more than about 1 % of the time, and so often that a kill costs less than a minute: a
block that gives way to another leaves less than `_UNSAVED_SECONDS` of work unsaved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hessent.eigensolver.block_solver import BlockSolver
from hessent.errors import HessentError, UsageError
from hessent.journal.journal import Journal
from hessent.journal.states import Grown, Small
from hessent.pipeline.measure import Measurement
from hessent.pipeline.operator_facts import are_facts
from hessent.pipeline.recorder import Recorder
from hessent.pipeline.settled import Settled
from hessent.pipeline.units import SettledOtherwiseError, Units
from hessent.spectra.model import Spectrum

_LEAST_SECONDS, _MOST_SECONDS = 4.0, 30.0  # between two states of a block
_UNSAVED_SECONDS = 1.0  # that a block may leave behind which is not worked on for a while
_SHARE = 0.01  # of the time may go into saving


@dataclass
class _Saved:
    """The last state of a block that this process wrote or read, and when the next one is due."""

    state: int  # number of the state in the journal, 0 for none
    at: float  # on the monotonic clock
    due: float


class JournalledUnits(Units):
    """The blocks of a run that has a journal.

    Parameters
    ----------
    journal : Journal
        Open.
    names : sequence of str
        Blocks of the whole run, in the model's order: a block's place is the name of its unit.
    notify : callable
        Told one sentence where something on disk was damaged and is computed again.
    settled : mapping or None
        What the journal had settled when this process prepared the measurement.
    """

    shared = True

    def __init__(
        self,
        journal: Journal,
        names: Sequence[str],
        notify: Callable[[str], None],
        settled: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self._settled = settled
        self._journal = journal
        self._unit = {name: f"{index:03d}" for index, name in enumerate(names)}
        self._notify = notify
        self._told = 0
        self._working: dict[str, BlockSolver] = {}
        self._saved: dict[str, _Saved] = {}

    def settle(self, choices: Settled, find_out: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the facts of the run from the journal, or find them out and keep them with the choices."""
        standing = self._settled
        if standing is None:
            standing = self._journal.settle({"choices": choices.as_mapping(), "facts": dict(find_out())})
        settled, facts = choices_of(standing), standing.get("facts")
        if settled is None or not isinstance(facts, Mapping) or not are_facts(facts):
            raise UsageError(
                "holds choices or facts that hessent did not write",
                where=self._journal.shown,
                fix="--force to discard it, or -o OTHER.spectrum.h5",
            )
        if settled != choices:
            raise SettledOtherwiseError("another process has settled how products are computed")
        return facts

    def adopt(self) -> None:
        """Look for finished blocks in the journal."""
        for name, unit in self._unit.items():
            if name not in self.finished:
                block = self._journal.finished(unit)
                if block is not None:
                    self.finished[name] = block
        self._tell_damage()

    def admits(self, solver: BlockSolver) -> bool:
        """Claim a block and bring its solver to where the journal says it is."""
        unit = self._unit[solver.name]
        if not self._journal.claim(unit):
            return False  # finished, or in other hands
        saved = self._saved.get(solver.name, _Saved(0, 0.0, 0.0))
        state = self._journal.load_state(unit, known=saved.state)
        self._tell_damage()
        if state is not None:
            self._restore(solver, unit, *state)
        now = time.monotonic()
        self._saved[solver.name] = _Saved(self._journal.state_number(unit), now, now + _LEAST_SECONDS)
        self._working[solver.name] = solver
        return True

    def paused(self, solver: BlockSolver) -> None:
        """Save a solver's state if it is time to."""
        if time.monotonic() >= self._saved[solver.name].due:
            self._save(solver)

    def left(self, solver: BlockSolver) -> None:
        """Save the state of a solver that may not come on for long."""
        if time.monotonic() >= self._saved[solver.name].at + _UNSAVED_SECONDS:
            self._save(solver)

    def ended(self, solver: BlockSolver) -> None:
        """Keep a finished block, or the state after a first look, and let it go."""
        super().ended(solver)
        unit = self._unit[solver.name]
        if solver.name in self.finished:
            self._journal.finish(unit, self.finished[solver.name])
        else:
            self._save(solver)
        self._journal.release(unit)
        self._working.pop(solver.name, None)

    def park(self) -> None:
        """Save all solvers that are being worked on and let their blocks go."""
        for solver in self._working.values():
            self._save(solver)
            self._journal.release(self._unit[solver.name])
        self._working.clear()

    def _restore(self, solver: BlockSolver, unit: str, small: Small, grown: Grown) -> None:
        """Go on from a state; one that is whole but fits no solver is as good as none."""
        try:
            solver.restore(small, grown)
        except ValueError as error:
            self._journal.drop_state(unit)
            self._notify(f"the state of block '{solver.name}' does not fit ({error}); it is computed again")

    def _save(self, solver: BlockSolver) -> None:
        state = solver.saved_state()
        if state is None:
            return
        unit = self._unit[solver.name]
        begin = time.monotonic()
        self._journal.save_state(unit, state.small, state.grown)
        end = time.monotonic()
        pause = min(max((end - begin) / _SHARE, _LEAST_SECONDS), _MOST_SECONDS)
        self._saved[solver.name] = _Saved(self._journal.state_number(unit), end, end + pause)

    def _tell_damage(self) -> None:
        for sentence in self._journal.damaged[self._told :]:
            self._notify(f"{sentence}; it is computed again")
        self._told = len(self._journal.damaged)


def choices_of(settled: Mapping[str, Any] | None) -> Settled | None:
    """Return the choices in what a journal has settled, or None where they are not there or not sound."""
    return None if settled is None else Settled.from_mapping(settled.get("choices"))


def run_kept(
    measurement: Measurement,
    journal: Journal,
    recorder: Recorder,
    *,
    max_time: float | None,
    settled: Mapping[str, Any] | None,
) -> Spectrum:
    """Run a measurement on what its journal holds, and write its file.

    The journal is taken away when everything is finished; stopped early, it stays.

    Parameters
    ----------
    measurement : Measurement
        Not yet run.
    journal : Journal
        Open.
    recorder : Recorder
        Told of progress; writes the file.
    max_time : float or None
        Seconds after which no further pass is begun.
    settled : mapping or None
        What the journal had settled when the measurement was prepared; see `choices_of`.

    Returns
    -------
    Spectrum
        What is known in the end.

    Raises
    ------
    HessentError
        Whatever measuring or writing raises.  A journal that holds nothing is then taken away.
    """
    units = JournalledUnits(journal, [block.name for block in measurement.blocks], recorder.noted, settled)
    try:
        measurement.run(recorder, max_time=max_time, units=units, settled=choices_of(settled))
    except SettledOtherwiseError:
        raise
    except HessentError:
        if not journal.holds_work:
            journal.discard()
        raise
    spectrum = recorder.write()
    if measurement.complete:
        journal.discard()
    return spectrum
