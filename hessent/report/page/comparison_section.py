"""What the page says of several runs together: the closing sentence, their courses, and which blocks differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hessent.report.comparison import Comparison
from hessent.report.comparison_blocks import block_tables
from hessent.report.comparison_tables import comparison_tables
from hessent.report.page.html import Markup, element, joined
from hessent.report.page.pictures import MOST_FILES, READING, density_panels, figure_of, progress_panels
from hessent.report.page.run_section import FULL, MOST_SHOWN, Section, entry_of
from hessent.report.page.svg import Pictures
from hessent.report.page.tables import table_box
from hessent.report.plots.run_plot import BARS


def comparison_section(over: Comparison, by_block: Comparison, pictures: Pictures | None) -> Section:
    """Return what is to be said of runs side by side.

    Parameters
    ----------
    over, by_block : Comparison
        Of the same runs: over the training, and block by block.
    pictures : Pictures or None
        Of the page; None where nothing is drawn.
    """
    gaps: list[str] = []
    legend = {run.name: number for number, run in enumerate(over.runs)}
    of_runs, of_differences, *others = comparison_tables(over)
    picture = None
    if len(over.runs) > MOST_FILES:
        gaps.append(f"{len(over.runs)} runs cannot be told apart in one picture, so there is none of all")
        pictures = None
    if pictures is not None and len(over.rows) > 1:
        panels = progress_panels(pictures, over)
        picture = figure_of(panels, f"{_named(over.blocks[0])} of each run over the training. {BARS}", legend)
    parts = [
        ("Side by side", joined(picture, table_box(replace(of_runs, facts=()), "Each run over the training"))),
        (
            f"Differences to {over.runs[0].name}",
            joined(
                element("p", over.sentence, class_="lead"),
                table_box(replace(of_differences, notes=of_differences.notes[1:]), "Differences"),
                *(table_box(table, "Differences for the population") for table in others),
            ),
        ),
    ]
    tables = block_tables(by_block)
    boxes = [table_box(replace(table, facts=()), "Differences by block") for table in tables]
    overlay = (
        None
        if pictures is None
        else _overlay(by_block, [str(_block(row)) for row in tables[0].rows], pictures, gaps)
    )
    parts.append((f"Blocks, at {by_block.rows[-1].label}", joined(overlay, *boxes)))
    return Section("Comparison", tuple(parts), tuple(gaps))


def _overlay(comparison: Comparison, ranked: Sequence[str], pictures: Pictures, gaps: list[str]) -> Markup | None:
    """The densities of the runs laid over each other, of the blocks that differ most."""
    entries = [None if own is None else entry_of(own) for own in comparison.rows[-1].checkpoints]
    missing = [run.name for run, entry in zip(comparison.runs, entries, strict=True) if entry is None]
    if missing:
        gaps.append(f"densities are not laid over each other: there are no coefficients of {', '.join(missing)}")
        return None
    known = [entry for entry in entries if entry is not None]
    first = [name for name in ranked if name == FULL]
    others = [name for name in ranked if name != FULL][:MOST_SHOWN]
    panels = density_panels(pictures, known, first + others)
    if not panels:
        return None
    shown = [panels[name] for name in [*first, *others] if name in panels]
    legend = {run.name: number for number, run in enumerate(comparison.runs)}
    return figure_of(shown, f"The blocks that differ most. {READING}", legend)


def _block(row: Sequence[object]) -> object:
    """The block of a row; the three columns before it are for programs."""
    return row[3]


def _named(block: str) -> str:
    return "The whole matrix" if block == FULL else f"The block {block}"
