"""`hessent report`: one self-contained page of runs."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from hessent.cli.options import SHOWN, Blocks, Debug, MeasureNames, Quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hessent.report.checks.judged_spectrum import JudgedSpectrum

_PAGE = "Page"
_MOST_NAMED = 4


def command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="Folders of spectra, spectra files, or `summary --json`. Several are compared with the first.",
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="The page, a file (not -).", rich_help_panel=_PAGE)
    ] = "report.html",
    title: Annotated[
        str | None,
        typer.Option("--title", metavar="TEXT", help="Its heading.", show_default=False, rich_help_panel=_PAGE),
    ] = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Tables alone; needs no matplotlib.", rich_help_panel=_PAGE)
    ] = False,
    measure: MeasureNames = None,
    block: Blocks = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse runs whose data, seeds or settings differ (exit code 2).",
            rich_help_panel=SHOWN,
        ),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page of runs: tables, pictures, comparison, provenance; it needs no network.

    Nothing is measured: what is missing is said, with the command to type.  The same files give the same bytes.
    """
    from hessent.cli.console import note, warn
    from hessent.cli.options import choose_selection
    from hessent.cli.output_files import OutputFile, check_outputs, read_of
    from hessent.pipeline.compared_runs import read_runs
    from hessent.report.page.document import report_page
    from hessent.report.plots.picture import require_matplotlib
    from hessent.storage.whole_file import write_whole

    check_outputs([OutputFile("--out", out)], read_of(runs))
    selection = choose_selection(measure, block, None, 1.0)
    if not no_pictures:
        require_matplotlib()
    found, cautions = read_runs(*runs)
    gaps = [gap for path, run in zip(runs, found, strict=True) for gap in _without_spectrum(path, run.checkpoints)]
    page = report_page(
        found, selection, title=title, cautions=cautions, gaps=gaps, strict=strict, drawn=not no_pictures
    )
    for gap in page.gaps:
        warn(gap)
    write_whole(out, page.content)
    note(f"{out}: written, {len(page.content) / 1e6:.2g} MB")


def _without_spectrum(path: str, spectra: Sequence[JudgedSpectrum]) -> list[str]:
    """A sentence for a folder with checkpoints that have no spectrum, and what to type for the first."""
    from hessent.pipeline.run_spectra import without_spectrum

    missing = without_spectrum(path, spectra) if os.path.isdir(path) else []
    if not missing:
        return []
    names = ", ".join(os.path.basename(one) for one in missing[:_MOST_NAMED])
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return [f"{path}: no spectrum yet of {names}{more}; hessent spectrum {shlex.quote(missing[0])}"]
