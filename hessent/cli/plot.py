"""`hessent plot`: pictures of spectra files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hessent.cli.options import SHOWN, Blocks, Debug, MeasureNames, Quiet

_PICTURE = "Picture"


class PictureKind(StrEnum):
    """What can be drawn."""

    DENSITY = "density"
    HEATMAP = "heatmap"
    RUN = "run"


def command(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Spectra files (*.spectrum.h5).")],
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="FILE", help="Picture: .png, .svg or .pdf.", rich_help_panel=_PICTURE),
    ],
    kind: Annotated[
        PictureKind,
        typer.Option(
            "--kind",
            help="density: files laid over each other, one panel per block; heatmap: blocks × measures of one "
            "file; run: measures over the training steps of one run's files.",
            rich_help_panel=SHOWN,
        ),
    ] = PictureKind.DENSITY,
    measure: MeasureNames = None,
    block: Blocks = None,
    width: Annotated[
        float | None,
        typer.Option("--width", metavar="INCHES", help="Default: what it needs.", rich_help_panel=_PICTURE),
    ] = None,
    height: Annotated[
        float | None,
        typer.Option("--height", metavar="INCHES", help="Default: what it needs.", rich_help_panel=_PICTURE),
    ] = None,
    dark: Annotated[
        bool, typer.Option("--dark", help="Light letters on a dark ground.", rich_help_panel=_PICTURE)
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw spectra files as PNG, SVG or PDF; needs matplotlib, the extra `plot`.

    The same files give the same bytes.
    """
    from hessent.cli.console import note
    from hessent.cli.options import choose_selection
    from hessent.cli.output_files import OutputFile, check_outputs
    from hessent.errors import UsageError
    from hessent.report.plots.picture import Look, drawing, file_format, picture_bytes, require_matplotlib
    from hessent.report.selection import SpectrumEntry
    from hessent.spectra.hdf5_reader import load_with_measures
    from hessent.storage.whole_file import write_whole

    check_outputs([OutputFile("--out", out)], files)
    written_as = file_format(out)
    look = Look(dark, width, height)
    selection = choose_selection(measure, block, None, 1.0)
    if kind is PictureKind.DENSITY and measure:
        raise UsageError("--measure says nothing about a density", fix="--kind heatmap or --kind run")
    require_matplotlib()
    entries = [SpectrumEntry(file, *load_with_measures(file)) for file in files]
    with drawing(look):
        if kind is PictureKind.DENSITY:
            from hessent.report.plots.density_plot import density_figure

            figure = density_figure(entries, selection.blocks, look)
        elif kind is PictureKind.HEATMAP:
            from hessent.report.plots.heatmap import heatmap_figure

            figure = heatmap_figure(entries, selection, look)
        else:
            from hessent.report.plots.run_plot import run_figure

            figure = run_figure(entries, selection, look)
        content = picture_bytes(figure, written_as)
    write_whole(out, content)
    note(f"{out}: written")
