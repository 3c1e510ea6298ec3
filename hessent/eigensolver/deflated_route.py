"""What to do next with a block of which few vectors find room.

Its vectors stay on the device that multiplies: they are few, and every one of them is used at every step.

Outliers by Lanczos, probes in their complement, then, while the interval is wider than asked, longer recurrences
where the quadrature's truncation dominates and more probes where sampling does.  After the first steps of the
probes the complement is searched for what the outlier run missed (copies of multiple eigenvalues have no component
along its single start vector); what is found joins the outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np

from hessent.eigensolver.deflated_sampling import DeflatedSampling
from hessent.eigensolver.outliers import OutlierSearch
from hessent.eigensolver.requests import Products
from hessent.eigensolver.ritz_pairs import leading_converged
from hessent.eigensolver.saved_state import SavedState, StateReader
from hessent.eigensolver.settings import (
    FIRST_PROBES,
    FIRST_STEPS,
    LOOK_SEARCH,
    LOOK_STEPS,
    MAX_PROBES,
    MAX_SEARCH,
    MAX_STEPS,
    Plan,
    SolverSettings,
    first_plan,
    sampled_matvecs,
)
from hessent.eigensolver.widths import square_sum, widths
from hessent.journal.unit_file import block_from_bytes, block_to_bytes
from hessent.spectra.model import BlockSpectrum

_MISSED_ROUNDS = 3
_REVEAL_STEPS = 16  # after so many a copy of an outlier has converged in every probe
_SEARCH_INSTALMENT = 20
_LEAST_STEPS = 8  # a recurrence shorter than this says nothing worth an interval
_T_QUANTILE = 3.2  # of 97.5 % for the first four probes
_SMALL_SHARE = 0.3  # of the tolerance; the rest is left to the quadrature
_PUBLISHED = "published"  # name of the spectrum in a saved state
_PRODUCTS_PER_PAIR = 2.2  # measured on exact Hessians of small trained nets


class _Phase(IntEnum):
    """What is being done; the numbers are part of saved states."""

    SEARCH = 0  # outliers are searched for
    REVEAL = 1  # new probes take the steps that show what the search missed
    LENGTHEN = 2  # they showed nothing, and take the others that are planned
    ABSORB = 3  # what was missed joins the outliers
    COMPLETE = 4  # the probes that remain take all the steps that are planned
    REFINE = 5  # recurrences get longer, or probes more
    DONE = 6


class DeflatedRoute:
    """Drives a `DeflatedSampling` to the tolerance, or to the end of its budget.

    Parameters
    ----------
    state : DeflatedSampling
        The block.
    settings : SolverSettings
        Tolerance and budget.
    size : int
        Number of parameters n.
    spent : int
        Products spent before, on checks.
    room : int
        Vectors that fit in the memory allowed.
    publish : callable
        Told every better spectrum.
    """

    wants_groups = True

    def __init__(
        self,
        state: DeflatedSampling,
        settings: SolverSettings,
        *,
        size: int,
        spent: int,
        room: int,
        publish: Callable[[BlockSpectrum], None],
    ) -> None:
        self._state = state
        self._settings = settings
        self._size = size
        self._before = spent
        self._room = room
        self._publish = publish
        self._published: BlockSpectrum | None = None
        self._finishing = False  # the first look is over
        self._phase = _Phase.SEARCH
        self._rounds_left = _MISSED_ROUNDS
        self._look_squares: float | None = None  # Σ λ² as the first look saw it

    def remaining_matvecs(self) -> int:
        """Products expected until the end of the budget, or of the instalment under way."""
        planned = sampled_matvecs(self._settings, self._size, self._before)
        return max(planned - self._state.matvecs, self._state.probes.pending_matvecs, 1)

    def first_look(self) -> Products[None]:
        """Get a first estimate with few products; a budget is too small for probes that are thrown away."""
        if self._published is not None:
            self._publish(self._published)  # of the solver whose state was restored
        if self._settings.max_matvecs is None and not self._finishing:
            yield from self._work()
            self._begin_finishing()

    def finish(self) -> Products[None]:
        """Work to the tolerance, or to the end of the budget."""
        if not self._finishing:
            self._begin_finishing()
        yield from self._work()

    def saved_state(self) -> SavedState | None:
        """Return all there is to go on from, with the latest spectrum published; None before the first product."""
        if self._state.matvecs == 0:
            return None
        published = b"" if self._published is None else block_to_bytes(_PUBLISHED, self._published)
        small = {
            "position": np.array([self._finishing, self._phase, self._rounds_left], dtype=np.int64),
            "look_squares": np.array([] if self._look_squares is None else [self._look_squares]),
            "published": np.frombuffer(published, dtype=np.uint8),
        }
        return SavedState(small) | self._state.saved_state()

    def restore(self, state: StateReader) -> None:
        """Go on from a saved state, where nothing has been done; ValueError if it does not fit."""
        finishing, phase, self._rounds_left = state.counts("position", 0, _Phase.REFINE, (3,))
        self._finishing, self._phase = finishing > 0, _Phase(phase)
        squares = state.array("look_squares", (None,))
        if len(squares) > 1:
            raise ValueError(f"{len(squares)} sums of squares, expected one")
        self._look_squares = float(squares[0]) if len(squares) else None
        sealed = state.array("published", (None,), np.uint8).tobytes()
        self._published = block_from_bytes(_PUBLISHED, sealed) if sealed else None
        self._state.restore(state)
        if not self._affordable(0):
            raise ValueError(f"{self._spent} products were spent, {self._settings.max_matvecs} are allowed")
        if self._phase > _Phase.SEARCH and self._state.probes.num_probes == 0:
            raise ValueError(f"there are no probes in phase {self._phase.name}")

    def _begin_finishing(self) -> None:
        self._finishing, self._phase = True, _Phase.SEARCH
        self._state.forget_probes()

    @property
    def _plan(self) -> Plan:
        if self._finishing:
            return first_plan(self._settings, self._size, self._before)
        return Plan(min(LOOK_SEARCH, self._size // 2), FIRST_PROBES, LOOK_STEPS)

    def _work(self) -> Products[None]:
        """Go through the phases, from the one that is due."""
        phases = {
            _Phase.SEARCH: self._search,
            _Phase.REVEAL: self._reveal,
            _Phase.LENGTHEN: self._lengthen,
            _Phase.ABSORB: self._absorb,
            _Phase.COMPLETE: self._complete,
            _Phase.REFINE: self._refine,
        }
        while self._phase is not _Phase.DONE:
            self._phase = yield from phases[self._phase]()

    def _search(self) -> Products[_Phase]:
        yield from self._state.search(self._plan.search, self._deflating_pays)
        if self._finishing:
            self._state.end_search()
        self._rounds_left = _MISSED_ROUNDS
        return self._begin_round()

    def _begin_round(self) -> _Phase:
        steps = self._affordable_steps(self._plan.probes, self._plan.steps)
        self._state.add_probes(self._plan.probes, max(min(_REVEAL_STEPS, steps), 1))
        return _Phase.REVEAL

    def _reveal(self) -> Products[_Phase]:
        yield from self._state.reach_goals()
        if self._state.missed() is not None:
            return _Phase.ABSORB
        self._lengthen_as_planned()
        return _Phase.LENGTHEN

    def _lengthen(self) -> Products[_Phase]:
        yield from self._state.reach_goals()
        return _Phase.ABSORB

    def _absorb(self) -> Products[_Phase]:
        missed = self._state.missed()
        if missed is not None and self._rounds_left > 0:
            # New probes must get half of the planned steps at least; the old ones count all copies without bias.
            later = self._plan.probes * max(self._plan.steps // 2, _LEAST_STEPS)
            if self._affordable(len(missed) + later) and (yield from self._state.absorb(missed)):
                self._rounds_left -= 1
                return self._begin_round()
        self._lengthen_as_planned()
        return _Phase.COMPLETE

    def _complete(self) -> Products[_Phase]:
        yield from self._state.reach_goals()
        if self._finishing:
            return self._settle_next(self._tell(converged=False, status="refining"))
        self._look_squares = square_sum(self._tell(converged=False, status="first look"))
        return _Phase.DONE

    def _refine(self) -> Products[_Phase]:
        yield from self._state.reach_goals()
        return self._settle_next(self._tell(converged=False, status="refining"))

    def _lengthen_as_planned(self) -> None:
        steps = self._affordable_steps(self._plan.probes, self._plan.steps - self._state.probes.num_steps)
        if steps > 0:
            self._state.lengthen(steps)

    def _deflating_pays(self, search: OutlierSearch) -> bool:
        """Whether one more outlier lowers the variance of the trace more, per product, than one more probe.

        A pair costs about 2.2 products and takes 2 λ²/q from the variance; a probe costs m and takes
        2 Σ λ² / (q (q + 1)), the sum over what is not deflated.  Σ λ² comes from the first look.
        """
        if self._look_squares is None or self._settings.max_matvecs is not None:
            return False
        most = min(MAX_SEARCH, self._size // 2, self._room // 2)
        if search.finished or search.num_matvecs + _SEARCH_INSTALMENT > most:
            return False
        values, residuals = search.ritz_values()
        converged = leading_converged(values, residuals)
        if converged == len(values):
            return True
        rest = max(self._look_squares - float((values[:converged] ** 2).sum()), 0.0)
        deflated = float(np.abs(values[:converged]).sum())
        if _T_QUANTILE * (2 * rest / FIRST_PROBES) ** 0.5 < _SMALL_SHARE * self._settings.rtol * deflated:
            return False  # the first probes alone will meet the tolerance
        per_pair = float(values[converged]) ** 2 / _PRODUCTS_PER_PAIR
        return per_pair > rest / ((FIRST_PROBES + 1) * FIRST_STEPS)

    def _settle_next(self, spectrum: BlockSpectrum) -> _Phase:
        """Lengthen the recurrences or add probes, whichever narrows the interval more per product, or stop."""
        probes, settings = self._state.probes, self._settings
        width = widths(spectrum)
        if width.meets(settings.rtol):
            return self._stop(converged=True, status="tolerance met")
        adaptive = settings.num_probes is None and settings.num_steps is None
        count, steps = probes.num_probes, probes.num_steps
        longer = min(2 * steps, MAX_STEPS, self._size)
        can_lengthen = adaptive and not probes.closed and longer > steps
        can_add = adaptive and count < MAX_PROBES
        if not can_lengthen and not can_add:
            return self._stop(status="caps reached" if adaptive else "probes and steps as asked")
        if can_lengthen and (not can_add or width.lengthening_pays(count, steps)):
            affordable = self._affordable_steps(count, longer - steps)
            if affordable == 0:
                return self._stop(status="budget spent")
            self._state.lengthen(affordable)
        elif self._affordable(2 * steps):
            self._state.add_probes(2, steps)
        else:
            return self._stop(status="budget spent")
        return _Phase.REFINE

    def _stop(self, *, status: str, converged: bool = False) -> _Phase:
        self._tell(converged=converged, status=status)
        return _Phase.DONE

    def _tell(self, *, converged: bool, status: str) -> BlockSpectrum:
        self._published = self._state.spectrum(converged=converged, status=status)
        self._publish(self._published)
        return self._published

    @property
    def _spent(self) -> int:
        return self._before + self._state.matvecs

    def _affordable(self, matvecs: int) -> bool:
        limit = self._settings.max_matvecs
        return limit is None or self._spent + matvecs <= limit

    def _affordable_steps(self, num_probes: int, steps: int) -> int:
        limit = self._settings.max_matvecs
        return steps if limit is None else max(min(steps, (limit - self._spent) // num_probes), 0)
