"""Measures of one run over its training steps, with their 95 % intervals.

One panel per measure, one line per block.  In the panel of λ_max a dashed line shows the limit of stable steps,
where the checkpoints' metadata tell it: 2/η for plain gradient descent, η the learning rate of that step.

Of an enclosure the ends are all that is known: it is a bar without a dot, and no line leads through it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hessent.errors import UsageError
from hessent.estimate import Estimate
from hessent.measures.stability import limit_of
from hessent.report.gradient_note import notes_on_batches
from hessent.report.measure_columns import measure_column
from hessent.report.plots.captions import fitted, power_of_ten, provenance, shortened
from hessent.report.plots.picture import TITLE_HEIGHT, Look, new_figure, title_lines
from hessent.report.selection import Selection, SpectrumEntry, blocks_named, training_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ACROSS = 3
_LEAST_PANEL = 2.6  # inches across
BARS = (
    "Bars: 95 % intervals for the data that was used, those of enclosures without a dot; triangles: bounded on one "
    "side only."
)
WHOLE = "full"


def run_figure(entries: Sequence[SpectrumEntry], selection: Selection, look: Look) -> Figure:
    """Draw measures over training steps.

    Parameters
    ----------
    entries : sequence of SpectrumEntry
        Files of one run, in any order.
    selection : Selection
        Measures (panels) and blocks (lines); without globs the whole model, where it was measured.
    look : Look
        Colours and size.

    Raises
    ------
    UsageError
        If a file has no step, two have the same, they are of different runs, or there are more blocks than colours.
    """
    entries = _by_step(entries)
    names = _block_names(entries, selection, look)
    count = len(selection.measures)
    across = min(count, _MOST_ACROSS, max(1, int((look.width or 99.0) / _LEAST_PANEL)))
    down = -(-count // across)
    width = look.width or max(across * (_LEAST_PANEL + 0.5), 4.5)
    small_print = fitted(provenance(entries), width)
    drawn = [block for entry in entries for block in entry.spectrum.blocks if block.name in names]
    reading = fitted(" ".join([BARS, *notes_on_batches(drawn, selection.measures)]), width)
    rows = len(names) if len(names) > 1 else 0
    title = TITLE_HEIGHT + 0.19 * rows + 0.12 * small_print.count("\n")
    height = look.height or title + 0.6 + down * 2.1
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        down,
        across,
        left=0.62 / width,
        right=1 - 0.15 / width,
        top=1 - (title + 0.22) / height,
        bottom=(0.65 + 0.1 * reading.count("\n")) / height,
        wspace=0.30,
        hspace=0.38,
    )
    for index, measure in enumerate(selection.measures):
        axes = figure.add_subplot(grid[index // across, index % across])
        _draw_measure(axes, entries, names, measure, look)
        axes.set_title(measure_column(measure, selection.alpha).title, loc="left")
        if index >= count - across:
            axes.set_xlabel("training step", labelpad=2)
    title_lines(figure, "Along the run" + (f": {shortened(names[0], 40)}" if not rows else ""), small_print, look)
    for row, name in enumerate(names[:rows]):
        down_to = 1 - (title - 0.06 - 0.19 * (rows - row)) / height
        figure.text(0.12 / width, down_to, "▬", va="top", fontsize=9, color=look.colours[row])
        figure.text(0.34 / width, down_to, shortened(name, 40), va="top", fontsize=8)
    figure.text(0.12 / width, 0.06 / height, reading, va="bottom", fontsize=6.5, color=look.faint)
    return figure


def _by_step(entries: Sequence[SpectrumEntry]) -> list[SpectrumEntry]:
    steps: dict[int, str] = {}
    problems = []
    for entry in entries:
        step = entry.spectrum.checkpoint.step
        if step is None:
            problems.append(f"{entry.file}: its checkpoint does not say at which training step it was saved")
        elif step in steps:
            problems.append(f"{entry.file}: step {step:,}, like {steps[step]}")
        else:
            steps[step] = entry.file
    if len({training_of(entry) for entry in entries} - {None}) > 1:
        problems.append("the files' architectures or optimizer settings differ: they are of several runs")
    if problems:
        raise UsageError("these files are not the steps of one run", where="--kind run", problems=problems)
    return sorted(entries, key=lambda entry: entry.spectrum.checkpoint.step or 0)


def _block_names(entries: Sequence[SpectrumEntry], selection: Selection, look: Look) -> list[str]:
    patterns = selection.blocks
    if not patterns and all(any(b.name == WHOLE for b in entry.spectrum.blocks) for entry in entries):
        patterns = (WHOLE,)
    names = list(dict.fromkeys(block.name for entry in entries for block in blocks_named(entry, patterns)))
    if not 0 < len(names) <= len(look.colours):
        raise UsageError(
            f"{len(names)} blocks cannot be told apart in one picture",
            where="--kind run",
            expected=f"1 to {len(look.colours)}",
            fix="--block GLOB",
        )
    return names


def _draw_measure(
    axes: Any, entries: Sequence[SpectrumEntry], names: Sequence[str], measure: str, look: Look
) -> None:
    for number, name in enumerate(names):
        points = [
            (entry.spectrum.checkpoint.step, entry.measures_of(block, 1.0)[measure])
            for entry in entries
            for block in entry.spectrum.blocks
            if block.name == name
        ]
        known = [(step, estimate) for step, estimate in points if step is not None]
        draw_line(axes, known, look.colours[number], measure)
    if measure == "lambda_max":
        _draw_stability(axes, entries, look)
    label_powers(axes)
    axes.margins(x=0.06, y=0.12)
    axes.grid(axis="y", color=look.faint, alpha=0.25, linewidth=0.5)
    axes.locator_params(axis="x", nbins=4, integer=True)


def label_powers(axes: Any) -> None:
    """Make the upward axis logarithmic where all that is drawn is positive and ranges over decades."""
    values = [value for line in axes.get_lines() for value in line.get_ydata() if math.isfinite(value)]
    if values and min(values) > 0.0 and max(values) > 30.0 * min(values):
        axes.set_yscale("log")
        # matplotlib's own labels of such an axis are formulas, which are not drawn as such.
        axes.yaxis.set_major_formatter(lambda value, _: power_of_ten(value))
        axes.yaxis.set_minor_formatter(lambda value, _: "")


def draw_line(axes: Any, points: Sequence[tuple[int, Estimate]], colour: str, measure: str) -> None:
    """Draw estimates with their intervals, joined by a line; a gap where one is unknown or an enclosure."""
    shown = [(step, _dot(estimate, measure), estimate) for step, estimate in points]
    # Not a number where there is no dot: the line has a gap there.
    axes.plot([s for s, _, _ in shown], [v for _, v, _ in shown], color=colour, linewidth=1.0, alpha=0.7)
    for step, value, estimate in shown:
        if not math.isfinite(value):
            _draw_bar(axes, step, estimate, colour)
            continue
        low = value if estimate.low is None else min(estimate.low, value)
        high = value if estimate.high is None else max(estimate.high, value)
        marker = "o" if None not in (estimate.low, estimate.high) else "^" if estimate.high is None else "v"
        axes.errorbar(
            [step],
            [value],
            [[value - low], [high - value]],
            color=colour,
            marker=marker,
            markersize=3.5,
            elinewidth=1.0,
            capsize=2.5,
        )


def _draw_bar(axes: Any, step: int, estimate: Estimate, colour: str) -> None:
    """Draw what is known by its ends alone; nothing where an end is open."""
    if estimate.low is None or estimate.high is None:
        return
    half = (estimate.high - estimate.low) / 2
    place = [step], [estimate.low + half], [[half], [half]]
    axes.errorbar(*place, fmt="none", ecolor=colour, elinewidth=1.0, capsize=2.5)


def _dot(estimate: Estimate, measure: str) -> float:
    """Where the dot of an estimate lies; not a number where its ends are all that is known."""
    is_enclosed = measure_column(measure, 1.0).kind == "bracket" and estimate.half_width not in (None, 0.0)
    return math.nan if estimate.value is None or is_enclosed else estimate.value


def _draw_stability(axes: Any, entries: Sequence[SpectrumEntry], look: Look) -> None:
    """Draw the limit of stable steps where the metadata tell it."""
    known = [
        (entry.spectrum.checkpoint.step, limit)
        for entry in entries
        if (limit := limit_of(entry.spectrum)) is not None
    ]
    if known:
        axes.plot(
            [step for step, _ in known],
            [limit.value for _, limit in known],
            color=look.ink,
            linestyle="--",
            linewidth=0.9,
            label=f"limit of stable steps, {known[0][1].formula}",
        )
        axes.legend(loc="best", fontsize=6.5)
