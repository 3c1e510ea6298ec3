"""What to do next with a block of which few vectors find room.

Its vectors stay on the device that multiplies: they are few, and every one of them is used at every step.

Outliers by Lanczos, probes in their complement, then, while the interval is wider than asked, longer recurrences
where the quadrature's truncation dominates and more probes where sampling does.  After the first steps of the
probes the complement is searched for what the outlier run missed (copies of multiple eigenvalues have no component
along its single start vector); what is found joins the outliers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hessent.eigensolver.deflated_sampling import DeflatedSampling
from hessent.eigensolver.outliers import OutlierSearch, leading_converged
from hessent.eigensolver.requests import Products
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
from hessent.spectra.model import BlockSpectrum

_MISSED_ROUNDS = 3
_REVEAL_STEPS = 16  # after so many a copy of an outlier has converged in every probe
_SEARCH_INSTALMENT = 20
_LEAST_STEPS = 8  # a recurrence shorter than this says nothing worth an interval
_T_QUANTILE = 3.2  # of 97.5 % for the first four probes
_SMALL_SHARE = 0.3  # of the tolerance; the rest is left to the quadrature
_PRODUCTS_PER_PAIR = 2.2  # measured on exact Hessians of small trained nets


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
        self._look: BlockSpectrum | None = None

    def remaining_matvecs(self) -> int:
        """Products expected until the end of the budget, or of the first instalment."""
        return max(sampled_matvecs(self._settings, self._size, self._before) - self._state.matvecs, 0)

    def first_look(self) -> Products[None]:
        """Get a first estimate with few products; a budget is too small for probes that are thrown away."""
        if self._settings.max_matvecs is not None:
            return
        plan = Plan(min(LOOK_SEARCH, self._size // 2), FIRST_PROBES, LOOK_STEPS)
        self._look = yield from self._sample(plan, "first look")

    def finish(self) -> Products[None]:
        """Work to the tolerance, or to the end of the budget."""
        spectrum = yield from self._sample(first_plan(self._settings, self._size, self._spent), "refining")
        yield from self._refine(spectrum)

    def saved_state(self) -> SavedState | None:
        """Return None: only a finished block is kept."""
        return None

    def restore(self, state: StateReader) -> None:
        """Raise ValueError: there is no such state."""
        raise ValueError("a block with few vectors in memory is computed from the start")

    def _sample(self, plan: Plan, status: str) -> Products[BlockSpectrum]:
        """Deflate outliers and run probes in their complement."""
        state = self._state
        yield from state.search(plan.search, self._deflating_pays)
        for remaining in reversed(range(_MISSED_ROUNDS + 1)):
            steps = self._affordable_steps(plan.probes, plan.steps)
            yield from state.add_probes(plan.probes, max(min(_REVEAL_STEPS, steps), 1))
            missed = state.missed()
            if missed is None:
                yield from self._lengthen_to(plan)
                missed = state.missed()
            if missed is None or remaining == 0:
                break
            # New probes must get half of the planned steps at least; the old ones count all copies without bias.
            if not self._affordable(len(missed) + plan.probes * max(plan.steps // 2, _LEAST_STEPS)):
                break
            grown = yield from state.absorb(missed)
            if not grown:
                break
        yield from self._lengthen_to(plan)
        return self._tell(converged=False, status=status)

    def _lengthen_to(self, plan: Plan) -> Products[None]:
        steps = self._affordable_steps(plan.probes, plan.steps - self._state.num_steps)
        if steps > 0:
            yield from self._state.lengthen(steps)

    def _deflating_pays(self, search: OutlierSearch) -> bool:
        """Whether one more outlier lowers the variance of the trace more, per product, than one more probe.

        A pair costs about 2.2 products and takes 2 λ²/q from the variance; a probe costs m and takes
        2 Σ λ² / (q (q + 1)), the sum over what is not deflated.  Σ λ² comes from the first look.
        """
        if self._look is None or self._settings.max_matvecs is not None:
            return False
        most = min(MAX_SEARCH, self._size // 2, self._room // 2)
        if search.finished or search.num_matvecs + _SEARCH_INSTALMENT > most:
            return False
        values, residuals = search.ritz_values()
        converged = leading_converged(values, residuals)
        if converged == len(values):
            return True
        rest = max(square_sum(self._look) - float((values[:converged] ** 2).sum()), 0.0)
        deflated = float(np.abs(values[:converged]).sum())
        if _T_QUANTILE * (2 * rest / FIRST_PROBES) ** 0.5 < _SMALL_SHARE * self._settings.rtol * deflated:
            return False  # the first probes alone will meet the tolerance
        per_pair = float(values[converged]) ** 2 / _PRODUCTS_PER_PAIR
        return per_pair > rest / ((FIRST_PROBES + 1) * FIRST_STEPS)

    def _refine(self, spectrum: BlockSpectrum) -> Products[None]:
        """Lengthen the recurrences or add probes, whichever narrows the interval more per product."""
        state, settings = self._state, self._settings
        adaptive = settings.num_probes is None and settings.num_steps is None
        status = "budget spent"
        while True:
            width = widths(spectrum)
            if width.meets(settings.rtol):
                self._tell(converged=True, status="tolerance met")
                return
            probes, steps = state.num_probes, state.num_steps
            longer = min(2 * steps, MAX_STEPS, self._size)
            can_lengthen = adaptive and not state.closed and longer > steps
            can_add = adaptive and probes < MAX_PROBES
            if not can_lengthen and not can_add:
                status = "caps reached" if adaptive else "probes and steps as asked"
                break
            if can_lengthen and (not can_add or width.lengthening_pays(probes, steps)):
                affordable = self._affordable_steps(probes, longer - steps)
                if affordable == 0:
                    break
                yield from state.lengthen(affordable)
            else:
                if not self._affordable(2 * steps):
                    break
                yield from state.add_probes(2, steps)
            spectrum = self._tell(converged=False, status="refining")
        self._tell(converged=False, status=status)

    def _tell(self, *, converged: bool, status: str) -> BlockSpectrum:
        spectrum = self._state.spectrum(converged=converged, status=status)
        self._publish(spectrum)
        return spectrum

    @property
    def _spent(self) -> int:
        return self._before + self._state.matvecs

    def _affordable(self, matvecs: int) -> bool:
        limit = self._settings.max_matvecs
        return limit is None or self._spent + matvecs <= limit

    def _affordable_steps(self, num_probes: int, steps: int) -> int:
        limit = self._settings.max_matvecs
        return steps if limit is None else max(min(steps, (limit - self._spent) // num_probes), 0)
