"""`hessent compare`: runs side by side, with the interval of every difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hessent.cli import measure_options as given
from hessent.cli.options import (
    SHOWN,
    Blocks,
    Debug,
    Format,
    Json,
    MeasureNames,
    OutputFormat,
    Quiet,
    choose_format,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hessent.pipeline.request import SpectrumRequest


def command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN…",
            help="Folders of checkpoints or spectra, spectra files, or their `summary --json`. The first is the "
            "reference.",
        ),
    ],
    measure: MeasureNames = None,
    block: Blocks = None,
    by_block: Annotated[
        bool,
        typer.Option(
            "--blocks",
            help="Block by block at the last common checkpoint, those that differ most first.",
            rich_help_panel=SHOWN,
        ),
    ] = False,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="The quantities of the source paper's Tables 2 to 5.", rich_help_panel=SHOWN),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse runs whose data, seeds or settings differ (exit code 2).",
            rich_help_panel=SHOWN,
        ),
    ] = False,
    no_measure: Annotated[
        bool,
        typer.Option(
            "--no-measure",
            help="Compare the spectra that are there; measure no checkpoint.",
            rich_help_panel="Missing spectra",
        ),
    ] = False,
    arch: given.Arch = None,
    data: given.Data = None,
    samples: given.Samples = None,
    no_full: given.NoFull = False,
    rtol: given.Rtol = None,
    max_matvecs: given.MaxMatvecs = None,
    seed: given.Seed = None,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare runs over their training: the measures of each, and their differences to the first.

    Runs with the same seed and samples are compared probe by probe, which makes intervals narrower.  Checkpoints
    without a spectrum are measured first, and their spectra kept beside them; typed again, it goes on.
    """
    from hessent.cli.console import warn
    from hessent.cli.output import emit
    from hessent.errors import UsageError
    from hessent.pipeline.compared_runs import compare
    from hessent.report.comparison_blocks import block_tables
    from hessent.report.comparison_paper import paper_tables
    from hessent.report.comparison_tables import comparison_tables

    def request(checkpoint: str) -> SpectrumRequest:
        from hessent.pipeline.accuracy import Accuracy
        from hessent.pipeline.request import SpectrumRequest

        return SpectrumRequest(
            checkpoint=checkpoint,
            arch=arch,
            data=data,
            samples=samples,
            full=not no_full,
            rtol=rtol,
            seed=seed,
            accuracy=Accuracy(max_matvecs=max_matvecs),
        )

    if by_block and paper:
        raise UsageError("--blocks and --paper ask for two views at once", fix="give only one of them")
    chosen = choose_format(output_format, as_json)
    found = compare(
        *runs,
        measures=measure or (),
        blocks=block or (),
        by_block=by_block,
        strict=strict,
        measure=None if no_measure else _measurer(request),
    )
    if chosen is not OutputFormat.TABLE:
        for text in found.warnings:
            warn(text)
    if chosen is OutputFormat.JSON:
        emit([], found.to_json(), chosen)
        return
    emit((paper_tables if paper else block_tables if by_block else comparison_tables)(found), {}, chosen)


def _measurer(request: Callable[[str], SpectrumRequest]) -> Callable[[str], None]:
    """Return what measures one checkpoint, with its progress on standard error."""

    def measure(checkpoint: str) -> None:
        import signal

        from hessent.cli.console import note
        from hessent.cli.progress import SpectrumDisplay
        from hessent.errors import InterruptedRunError
        from hessent.pipeline.spectrum_run import run_spectrum

        note(f"{checkpoint}: has no finished spectrum yet, measuring it")
        with SpectrumDisplay() as display:
            outcome = run_spectrum(request(checkpoint), display)
        if display.signal_received is not None:
            raise InterruptedRunError(str(outcome.path), by_user=display.signal_received == signal.SIGINT)

    return measure
