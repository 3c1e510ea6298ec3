"""Measuring the checkpoints of runs whose spectra are missing or stale, with progress on standard error."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hessent.cli.console import note
from hessent.cli.progress import SpectrumDisplay
from hessent.errors import InterruptedRunError

if TYPE_CHECKING:
    from hessent.pipeline.asked import Asked
    from hessent.pipeline.run_spectra import Finding


def measurer(asked: Asked) -> Callable[[Sequence[Finding]], None]:
    """Return what measures checkpoints as asked."""

    def measure(findings: Sequence[Finding]) -> None:
        from hessent.pipeline.run_spectra import State
        from hessent.pipeline.spectrum_run import run_spectrum

        for finding in findings:
            note(f"measuring {finding.checkpoint}: {finding.why}")
            with SpectrumDisplay() as display:
                request = asked.request(finding.checkpoint)
                outcome = run_spectrum(request, display, force=finding.state is State.STALE)
            if display.signal_received is not None:
                raise InterruptedRunError(str(outcome.path), by_user=display.signal_received == signal.SIGINT)

    return measure
