"""Measuring the checkpoints of runs whose spectra are missing or stale, with progress on standard error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hessent.cli.run_progress import RunDisplay
from hessent.errors import HessentError

if TYPE_CHECKING:
    from hessent.pipeline.asked import Asked
    from hessent.pipeline.run_spectra import Finding

_BY_USER, _BY_SIGNAL = 130, 75  # exit codes


def measurer(asked: Asked) -> Callable[[Sequence[Finding]], None]:
    """Return what measures checkpoints as asked; it raises HessentError where a signal asks for the end."""

    def measure(findings: Sequence[Finding]) -> None:
        from hessent.pipeline.run_spectra import State
        from hessent.pipeline.spectrum_run import run_spectrum

        # All of them first: what makes no sense is said before anything is begun.
        requests = [asked.request(f.checkpoint, f.kind.curvature, f.kind.preconditioner) for f in findings]
        with RunDisplay(len(findings)) as display:
            for done, (finding, request) in enumerate(zip(findings, requests, strict=True)):
                display.begin(finding.label, finding.why)
                outcome = run_spectrum(request, display, force=finding.state is State.STALE)
                if display.should_stop():
                    raise _interruption(done + outcome.spectrum.complete, len(findings), display.stop.by_user)
                display.finish()

    return measure


def _interruption(done: int, total: int, by_user: bool) -> HessentError:
    error = HessentError(
        f"stopped early: {done} of {total} checkpoints are measured, and what was begun is saved",
        fix="the same command goes on from there",
    )
    error.exit_code = _BY_USER if by_user else _BY_SIGNAL
    return error
