"""What the page says of one run: its course over the training, then its latest checkpoint block by block."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hessent import __version__
from hessent.errors import UsageError
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.checks.table import told
from hessent.report.comparison_rows import ComparedRun
from hessent.report.measure_columns import measure_column
from hessent.report.page.html import Markup, element, joined
from hessent.report.page.pictures import READING, density_panels, figure_of, run_panels
from hessent.report.page.svg import Pictures
from hessent.report.page.tables import table_box
from hessent.report.plots.heatmap import column_scores
from hessent.report.plots.run_plot import BARS
from hessent.report.selection import Selection, SpectrumEntry, select_blocks
from hessent.report.summary import summary_tables
from hessent.report.tables import Cell, Column, Table
from hessent.spectra.derived import DerivedMeasures

FULL = "full"
MOST_SHOWN = 5  # blocks of which the density is not folded away
_MOST_DRAWN = 60  # blocks of which there is a density at all
_MOST_LINES = 4  # blocks in the course over the training, where the whole model was not measured
_COARSE = 0.8  # points from a curve within which others are left out, in pictures that are folded away
_LAST_SHADE = 8
_SPREAD = 2.0  # standard deviations at which the shades end


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    title : str
        Its heading.
    parts : tuple of (str, Markup)
        Headings below it, and what stands there.
    gaps : tuple of str
        What is missing, with the command to type.
    """

    title: str
    parts: tuple[tuple[str, Markup], ...]
    gaps: tuple[str, ...] = ()


def entry_of(spectrum: JudgedSpectrum) -> SpectrumEntry | None:
    """Return the spectrum with its coefficients and measures; None where only the measures are at hand."""
    if spectrum.spectrum is None:
        return None
    derived = {
        name: DerivedMeasures(__version__, block.measures, block.budget) for name, block in spectrum.blocks.items()
    }
    return SpectrumEntry(spectrum.file, spectrum.spectrum, derived)


def run_section(run: ComparedRun, selection: Selection, pictures: Pictures | None) -> Section:
    """Return what is to be said of a run.

    Parameters
    ----------
    run : ComparedRun
        Its spectra.
    selection : Selection
        Measures, and globs of which each matches a block of the latest checkpoint.
    pictures : Pictures or None
        Of the page; None where nothing is drawn.
    """
    last = run.checkpoints[-1]
    entry = entry_of(last)
    gaps: list[str] = []
    parts: list[tuple[str, Markup]] = []
    if len(run.checkpoints) > 1:
        parts.append(("Over the training", _course(run, selection, pictures, gaps)))
    at = "" if last.step is None else f" at step {last.step:,}"
    if entry is None:
        gaps.append(f"{last.file}: JSON holds no coefficients, so there is no density; name the spectra file")
        parts.append(
            (f"Blocks{at}", table_box(_plain_table(last, selection), f"{run.name}{at}: measures by block"))
        )
        return Section(f"Run {run.name}", tuple(parts), tuple(gaps))
    if FULL not in last.blocks and not selection.blocks:
        command = f"hessent spectrum {shlex.quote(entry.spectrum.checkpoint.path)}"
        gaps.append(f"{last.file}: the whole model (full) was not measured; {command} without --no-full")
    parts.append((f"Blocks{at}", _blocks(entry, selection, f"{run.name}{at}")))
    if pictures is not None:
        parts.append((f"Densities{at}", _densities(entry, selection, pictures, gaps)))
    return Section(f"Run {run.name}", tuple(parts), tuple(gaps))


def _course(run: ComparedRun, selection: Selection, pictures: Pictures | None, gaps: list[str]) -> Markup:
    """The measures of the whole model, or of the largest blocks, at every checkpoint."""
    names = course_blocks(run, selection)
    columns = (
        Column("step", "step", "count"),
        Column("progress", "% done", "number"),
        Column("loss", "loss", "number"),
        *([Column("block", "block", "name")] if len(names) > 1 else []),
        *(measure_column(name, 1.0) for name in selection.measures),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            own.step,
            None if own.progress is None else _per_cent(own.progress),
            None if own.spectrum is None else own.spectrum.loss.value,
            *([name] if len(names) > 1 else []),
            *(own.blocks[name].measures[measure] for measure in selection.measures),
        )
        for own in run.checkpoints
        for name in names
        if name in own.blocks
    ]
    which = f"All numbers are those of the block {names[0]}." if len(names) == 1 else ""
    table = Table(columns, tuple(rows), notes=(which,) if which else ())
    picture = None
    entries = [entry for own in run.checkpoints if (entry := entry_of(own)) is not None]
    if pictures is not None and len(entries) == len(run.checkpoints):
        try:
            wanted = Selection(selection.measures, tuple(names))
            panels = run_panels(pictures, entries, wanted)
            legend = {name: index for index, name in enumerate(names)} if len(names) > 1 else None
            picture = figure_of(panels, f"{run.name} over its training steps. {BARS}", legend)
        except UsageError as error:
            gaps.append(f"{run.name}: no picture of its course: {error.found}")
    return joined(picture, table_box(table, f"{run.name} over its training"))


def course_blocks(run: ComparedRun, selection: Selection) -> list[str]:
    """Return the blocks that are followed over the training: the whole model, if all checkpoints have it."""
    shared = [name for name in run.checkpoints[-1].blocks if all(name in own.blocks for own in run.checkpoints)]
    if selection.blocks:
        entry = [name for name in shared if any(_matches(name, glob) for glob in selection.blocks)]
        return entry[:_MOST_LINES]
    return [FULL] if FULL in shared else _most_curved(run.checkpoints[-1], shared)[:_MOST_LINES]


def _per_cent(share: float) -> float:
    return round(100 * share) if round(100 * share) == 100 * share else 100 * share


def _matches(name: str, pattern: str) -> bool:
    import fnmatch

    return fnmatch.fnmatchcase(name, pattern)


def _blocks(entry: SpectrumEntry, selection: Selection, label: str) -> Markup:
    summary, *others = summary_tables(entry, selection)
    chosen = select_blocks(entry, selection)
    shades: dict[tuple[int, str], int] = {}
    if len(chosen) > 2:
        for name in selection.measures:
            scores = column_scores([m.measures[name] for m in chosen], measure_column(name, selection.alpha).kind)
            for row, score in enumerate(np.clip(scores, -_SPREAD, _SPREAD)):
                if np.isfinite(score):
                    shades[row, name] = round(float((score + _SPREAD) / (2 * _SPREAD)) * _LAST_SHADE)
    boxes = [table_box(summary, f"{label}: measures by block", shades)]
    boxes += [table_box(table, f"{label}: for the population") for table in others]
    return joined(_SHADES if shades else None, *boxes)


_SHADES = element(
    "p",
    element("span", "low ", *(element("i", class_=f"h{shade}", aria_hidden="true") for shade in range(9)), " high"),
    " within a column, ±2 standard deviations of the signed logarithms.",
    class_="legend shaded",
)


def _densities(entry: SpectrumEntry, selection: Selection, pictures: Pictures, gaps: list[str]) -> Markup:
    names = [measured.block.name for measured in select_blocks(entry, selection)]
    judged = {name: entry.derived[name].estimates for name in names}
    ranked = sorted((name for name in names if name != FULL), key=lambda name: -_curvature(judged[name]))
    first = [FULL] if FULL in names else []
    shown, folded = ranked[:MOST_SHOWN], ranked[MOST_SHOWN:_MOST_DRAWN]
    if len(ranked) > _MOST_DRAWN:
        file = shlex.quote(entry.file)
        gaps.append(
            f"{len(ranked) - _MOST_DRAWN} densities are left out; hessent plot {file} -o density.svg has all"
        )
    panels = density_panels(pictures, [entry], first + shown)
    panels |= density_panels(pictures, [entry], folded, _COARSE)
    if not panels:
        text = "no density: of all blocks the trace alone was measured; hessent spectrum … without --only trace"
        gaps.append(f"{entry.file}: {text}")
        return element("p", "There is " + text + ".")
    visible = [panels[name] for name in [*first, *shown] if name in panels]
    others = [panels[name] for name in names if name in folded and name in panels]
    which = f" {len(shown)} of {len(ranked)} blocks, those with the most curvature Σ|λ| first." if others else ""
    parts = [figure_of(visible, READING + which)]
    if others:
        summary = element("summary", f"The other {len(others)} blocks, in the model's order")
        parts.append(element("details", summary, figure_of(others, READING)))
    return joined(*parts)


def _most_curved(spectrum: JudgedSpectrum, names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: -_curvature(spectrum.blocks[name].measures))


def _curvature(measures: Mapping[str, object]) -> float:
    for name in ("abs_trace", "trace"):
        value = getattr(measures[name], "value", None)
        if value is not None:
            return abs(float(value))
    return 0.0


def _plain_table(spectrum: JudgedSpectrum, selection: Selection) -> Table:
    """The blocks of a summary in JSON."""
    columns = (
        Column("block", "block", "name"),
        Column("size", "size", "count"),
        *(measure_column(name, 1.0) for name in selection.measures),
    )
    chosen = [
        (name, block)
        for name, block in spectrum.blocks.items()
        if not selection.blocks or any(_matches(name, pattern) for pattern in selection.blocks)
    ]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, block.size, *(block.measures[measure] for measure in selection.measures)) for name, block in chosen
    )
    note = "± and a–b: the 95 % interval for this data. From a summary in JSON."
    return Table(columns, rows, facts=(("measured", told(spectrum)),), notes=(note,))
