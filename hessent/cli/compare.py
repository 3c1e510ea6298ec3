"""`hessent compare`: runs side by side, with the interval of every difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hessent.cli import compare_options as shown
from hessent.cli import measure_options as given
from hessent.cli.options import Blocks, Debug, Format, Json, MeasureNames, OutputFormat, Quiet, choose_format

if TYPE_CHECKING:
    from hessent.report.comparison import Comparison


def command(
    runs: shown.Runs,
    measure: MeasureNames = None,
    block: Blocks = None,
    by_block: shown.ByBlock = False,
    paper: shown.Paper = False,
    curvature: shown.Curvatures = None,
    strict: shown.Strict = False,
    no_measure: shown.NoMeasure = False,
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
    from hessent.cli.measuring_runs import measurer
    from hessent.errors import UsageError
    from hessent.pipeline.asked import Asked
    from hessent.pipeline.compared_runs import compare

    if by_block and paper:
        raise UsageError("--blocks and --paper ask for two views at once", fix="give only one of them")
    chosen = choose_format(output_format, as_json)
    asked = Asked(arch, data, samples, not no_full, rtol, max_matvecs, seed)
    found = compare(
        *runs,
        measures=measure or (),
        blocks=block or (),
        by_block=by_block,
        strict=strict,
        curvatures=curvature or (),
        asked=asked,
        measure=None if no_measure else measurer(asked),
    )
    _print(found, chosen, paper=paper)


def _print(found: Comparison, output_format: OutputFormat, *, paper: bool) -> None:
    """Print a comparison in the view asked for; beside no table, its warnings go to standard error."""
    from hessent.cli.console import warn
    from hessent.cli.output import emit
    from hessent.report.comparison_blocks import block_tables
    from hessent.report.comparison_paper import paper_tables
    from hessent.report.comparison_tables import comparison_tables

    if output_format is not OutputFormat.TABLE:
        for text in found.warnings:
            warn(text)
    if output_format is OutputFormat.JSON:
        emit([], found.to_json(), output_format)
        return
    tables = paper_tables if paper else block_tables if found.by_block else comparison_tables
    emit(tables(found), {}, output_format)
