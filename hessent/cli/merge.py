"""`hessent merge`: the parts of a split run, joined."""

from __future__ import annotations

import os
import re
from typing import Annotated

import typer

from hessent.cli.options import Debug, Format, Json, OutputFormat, Quiet, choose_format, choose_selection
from hessent.errors import UsageError

_NAME_OF_A_PART = re.compile(r"(.*)\.units-\d+-of-\d+\.spectrum\.h5")


def command(
    parts: Annotated[
        list[str], typer.Argument(metavar="PART…", help="Files of `spectrum --units I/N`, all of them.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Spectrum file to write. Default: the parts' name without '.units-I-of-N'.",
            rich_help_panel="File",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there.", rich_help_panel="File")
    ] = False,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Join the files of `hessent spectrum … --units 1/N` to `N/N` into the one that a single process writes.

    Parts that do not belong together, that are unfinished or missing are refused, all of them at once.
    """
    from hessent.cli.output import emit
    from hessent.cli.output_files import OutputFile, check_outputs
    from hessent.measures.written import MeasuredWriter
    from hessent.report.selection import SpectrumEntry
    from hessent.report.summary import summary_tables
    from hessent.report.summary_document import summary_document
    from hessent.spectra.hdf5_reader import load, load_with_measures
    from hessent.spectra.merging import merge

    chosen = choose_format(output_format, as_json)
    selection = choose_selection(None, None, None, 1.0, every_measure=chosen is OutputFormat.CSV)
    target = _target(parts, out)
    check_outputs([OutputFile("--out", target, is_spectrum=True)], parts)
    if os.path.exists(target) and not force:
        raise UsageError("is there already", where=target, fix="--force to replace it, or -o OTHER.spectrum.h5")
    MeasuredWriter().write(target, merge({name: load(name) for name in parts}))
    entry = SpectrumEntry(target, *load_with_measures(target))
    emit(summary_tables(entry, selection), summary_document([entry], selection), chosen)


def _target(parts: list[str], out: str | None) -> str:
    """Return the file to write: as asked, or what the names of the parts have in common."""
    if out is not None:
        return out
    stems = {match[1] if (match := _NAME_OF_A_PART.fullmatch(name)) else None for name in parts}
    stem = stems.pop()
    if stems or stem is None:
        raise UsageError(
            "the parts' names do not say where the result belongs",
            expected="names that end in '.units-I-of-N.spectrum.h5' and are otherwise the same",
            fix="-o FILE.spectrum.h5",
        )
    return f"{stem}.spectrum.h5"
