"""Measuring the checkpoints of runs that have no spectrum yet, with progress on standard error."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from hessent.cli.console import note
from hessent.cli.progress import SpectrumDisplay
from hessent.errors import InterruptedRunError

if TYPE_CHECKING:
    from hessent.pipeline.asked import Asked


def measurer(asked: Asked) -> Callable[[str], None]:
    """Return what measures one checkpoint as asked."""

    def measure(checkpoint: str) -> None:
        from hessent.pipeline.spectrum_run import run_spectrum

        note(f"{checkpoint}: has no finished spectrum yet, measuring it")
        with SpectrumDisplay() as display:
            outcome = run_spectrum(asked.request(checkpoint), display)
        if display.signal_received is not None:
            raise InterruptedRunError(str(outcome.path), by_user=display.signal_received == signal.SIGINT)

    return measure
