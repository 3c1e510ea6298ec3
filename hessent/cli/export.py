"""`hessent export`: measures and eigenvalues for other programs and experiment trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hessent.cli import export_options as given
from hessent.cli.options import Alpha, Blocks, Debug, MeasureNames, Quiet
from hessent.report.exports.targets import STANDARD_OUTPUT, Content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hessent.report.exports.sources import Source


def command(
    paths: given.Paths,
    out: given.Out,
    to: given.To = None,
    project: given.Project = None,
    what: given.What = Content.MEASURES,
    measure: MeasureNames = None,
    block: Blocks = None,
    alpha: Alpha = 1.0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write measures as a tidy table, or into TensorBoard, MLflow or Weights & Biases; nothing is measured.

    CSV and parquet have one row per file, block and measure; JSON is that of
    `hessent summary --json`.  Trackers get one series per block and measure over
    the training steps, and the ends of its interval beside it; a folder is a run.
    Exporting again adds nothing twice.  For W&B the runs are written offline:
    `wandb sync` sends them.
    """
    from hessent.cli.console import note, write_text
    from hessent.cli.options import choose_selection
    from hessent.cli.output_files import OutputFile, check_outputs
    from hessent.report.exports.sources import read_sources
    from hessent.report.exports.targets import choose_target
    from hessent.report.exports.writing import file_content, refuse_options, track
    from hessent.storage.whole_file import write_whole

    target = choose_target(out, to)
    if target.is_file and out != STANDARD_OUTPUT:
        check_outputs([OutputFile("--out", out)], paths)
    refuse_options(target, what, measures=bool(measure), other_order=alpha != 1.0, project=project)
    selection = choose_selection(measure, block, None, alpha, every_measure=target.is_file)
    sources = read_sources(paths)
    _warn(sources)
    if not target.is_file:
        for sentence in track(sources, selection, target, out, project):
            note(sentence)
        return
    content = file_content(sources, selection, target, what)
    if out == STANDARD_OUTPUT:
        write_text(content.decode())
    else:
        write_whole(out, content)
        note(f"{out}: written")


def _warn(sources: Sequence[Source]) -> None:
    """Say what spoils the numbers; the tables say it in columns of their own."""
    from hessent.cli.console import warn

    for source in sources:
        if source.entry.spectrum.data.synthetic:
            warn(f"{source.entry.file}: made-up data: its numbers say nothing about a real task")
        if not source.entry.spectrum.complete:
            warn(f"{source.entry.file}: INCOMPLETE: blocks may be missing and intervals are wide")
