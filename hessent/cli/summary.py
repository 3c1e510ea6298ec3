"""`hessent summary`: the summary table of spectra files, without computing anything anew."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import (
    SHOWN,
    Alpha,
    Blocks,
    Debug,
    Format,
    Json,
    MeasureNames,
    OutputFormat,
    Quiet,
    Sort,
    choose_format,
    choose_selection,
)


def command(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Spectra files (*.spectrum.h5).")],
    measure: MeasureNames = None,
    block: Blocks = None,
    sort: Sort = None,
    alpha: Alpha = 1.0,
    density: Annotated[
        bool,
        typer.Option("--density", help="Draw each block's spectral density instead.", rich_help_panel=SHOWN),
    ] = False,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print the summary table of spectra files, one row per block, without measuring anything.

    Measures at any Rényi order follow from the stored coefficients: no model, no data, no torch.
    """
    from rich.text import Text

    from hessent.cli.console import results, terminal_width, write_lines
    from hessent.cli.output import emit
    from hessent.errors import UsageError
    from hessent.report.density_lines import density_lines
    from hessent.report.names import printable
    from hessent.report.selection import SpectrumEntry
    from hessent.report.summary import summary_tables
    from hessent.report.summary_document import summary_document
    from hessent.spectra.hdf5_reader import load_with_measures

    chosen = choose_format(output_format, as_json)
    selection = choose_selection(measure, block, sort, alpha, every_measure=chosen is OutputFormat.CSV)
    if density and chosen is not OutputFormat.TABLE:
        raise UsageError(
            f"--density is drawn for people; there is none as {chosen}", fix="hessent plot for pictures"
        )
    if density and (measure or sort or alpha != 1.0):
        raise UsageError("--measure, --sort and --alpha say nothing about a density", fix="leave them out")
    entries = [SpectrumEntry(file, *load_with_measures(file)) for file in files]
    if density:
        console = results()
        for number, entry in enumerate(entries):
            lines = density_lines(entry, selection.blocks, terminal_width(console))
            write_lines(console, [Text()] * bool(number) + [Text(printable(entry.file)), *lines])
    elif chosen is OutputFormat.JSON:
        emit([], summary_document(entries, selection), chosen)
    else:
        emit([table for entry in entries for table in summary_tables(entry, selection)], {}, chosen)
