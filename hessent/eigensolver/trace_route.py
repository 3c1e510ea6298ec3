"""A block of which the trace alone is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import SavedState, StateReader
from hessent.eigensolver.settings import LEAST_ROOM, SolverSettings
from hessent.eigensolver.trace_only import TraceSampling
from hessent.spectra.model import BlockSpectrum


class TraceRoute:
    """Hutch++ on a block, without a first look: its first instalment is one.

    Parameters
    ----------
    empty : BlockSpectrum
        Name, size and everything else that does not depend on the products.
    settings : SolverSettings
        Tolerance and budget.
    publish : callable
        Told the result.
    dtype : torch.dtype
        Precision of the products.
    device : torch.device
        Where vectors live.
    """

    wants_groups = False

    def __init__(
        self,
        empty: BlockSpectrum,
        settings: SolverSettings,
        publish: Callable[[BlockSpectrum], None],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._empty, self._publish = empty, publish
        limit = settings.max_matvecs
        self._sampling = TraceSampling(
            empty.size,
            seed=settings.seed,
            key=f"{empty.name}/trace",
            rtol=settings.rtol,
            budget=None if limit is None else limit - empty.num_matvecs,
            room=max(settings.reach(empty.size, torch.finfo(dtype).bits // 8), LEAST_ROOM),
            dtype=dtype,
            device=device,
            memory=settings.basis_memory,
            overflow=settings.overflow,
        )

    def remaining_matvecs(self) -> int:
        """Products expected until the end of a budget, or until the next look at the interval."""
        return self._sampling.remaining_matvecs()

    def first_look(self) -> Products[None]:
        """Ask for nothing: what was computed for a first estimate would not be known to be one."""
        yield from ()

    def finish(self) -> Products[None]:
        """Estimate the trace to the tolerance, or to the end of the budget."""
        result = yield from self._sampling.run()
        self._publish(
            replace(
                self._empty,
                method="hutch++",
                num_matvecs=self._empty.num_matvecs + result.num_matvecs,
                converged=result.converged,
                status=result.status,
                trace_estimates=result.estimates,
            )
        )

    def saved_state(self) -> SavedState | None:
        """Return all there is to go on from; None before the first product."""
        return self._sampling.saved_state()

    def restore(self, state: StateReader) -> None:
        """Go on from a saved state; ValueError if it does not fit."""
        self._sampling.restore(state)
