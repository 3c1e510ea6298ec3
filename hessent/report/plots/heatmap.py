"""Blocks × measures as a table of coloured cells.

The colour compares blocks within one measure: how many standard deviations a block lies from the mean of its column
(on a signed logarithmic scale, for measures range over decades).  The number in the cell is the measure itself with
its 95 % interval, as in the table; where that shows a lower bound, the colour is the bound's, too.  A cell without
a value has no colour, nor has an enclosure that spans more than one standard deviation: where in it the number lies
is not known.  Colours run from dark blue over grey to yellow (cividis), which people with any colour vision see
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hessent.errors import UsageError
from hessent.estimate import Estimate
from hessent.report.gradient_note import notes_on_batches
from hessent.report.measure_columns import measure_column
from hessent.report.numbers import NumberKind, format_estimate
from hessent.report.plots.captions import fitted, provenance, shortened
from hessent.report.plots.picture import LARGEST_SIDE, TITLE_HEIGHT, Look, new_figure, title_lines
from hessent.report.selection import MeasuredBlock, Selection, SpectrumEntry, select_blocks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW = 0.2  # inches
_COLUMN = 1.15
_MOST_LETTERS = 32  # of a block's name
_LETTER = 0.075  # inches
_SPREAD = 2.0  # standard deviations at which the colours end
_VAGUE = 1.0  # of them, from which on an enclosure does not tell its colour
_LEAST_SIZE = 1e-8  # relative to the largest of the column: what is smaller counts as zero for the colour
_BELOW = 0.3  # inches for the line that says how to read it


def heatmap_figure(entries: Sequence[SpectrumEntry], selection: Selection, look: Look) -> Figure:
    """Draw blocks × measures of one file.

    Parameters
    ----------
    entries : sequence of SpectrumEntry
        One.
    selection : Selection
        Measures (columns) and blocks (rows).
    look : Look
        Colours and size.

    Raises
    ------
    UsageError
        If there are several files, too many blocks for a picture, or none.
    """
    if len(entries) > 1:
        raise UsageError(f"a heat map shows one file, not {len(entries)}", fix="one picture per file")
    chosen = select_blocks(entries[0], selection)
    most = int((LARGEST_SIDE - 2) / _ROW)
    if not 0 < len(chosen) <= most:
        raise UsageError(
            f"{len(chosen)} blocks cannot be drawn as a heat map",
            where=entries[0].file,
            expected=f"1 to {most}",
            fix="--block GLOB",
        )
    names = [shortened(measured.block.name, _MOST_LETTERS) for measured in chosen]
    left = 0.25 + _LETTER * max(map(len, names))
    width = look.width or left + _COLUMN * len(selection.measures) + 0.15
    small_print = fitted(provenance(entries), width)
    title = TITLE_HEIGHT + 0.12 * small_print.count("\n")
    of_batches = notes_on_batches([measured.block for measured in chosen], selection.measures)
    reading = fitted(" ".join([_READING, *of_batches]), width)
    below = _BELOW + 0.11 * reading.count("\n")
    height = look.height or title + 0.25 + _ROW * len(chosen) + below
    figure = new_figure(width, height)
    axes = figure.add_axes(
        (left / width, below / height, 1 - (left + 0.15) / width, 1 - (title + 0.25 + below) / height)
    )
    columns = [measure_column(name, selection.alpha) for name in selection.measures]
    scores = np.array([column_scores([m.measures[c.key] for m in chosen], c.kind) for c in columns]).T
    axes.imshow(np.ma.masked_invalid(scores), cmap="cividis", vmin=-_SPREAD, vmax=_SPREAD, aspect="auto", alpha=0.9)
    axes.set_xticks(range(len(columns)), [column.title for column in columns])
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    room = (width - left - 0.15) / len(columns) * 72  # points
    for row, measured in enumerate(chosen):
        for column, name in enumerate(selection.measures):
            text = _cell(measured, name, selection.alpha)
            score = scores[row, column]
            colour = look.ink if np.isnan(score) else "#ffffff" if score < 0.15 else "#111111"
            size = min(6.8, room / max(len(text), 1) / 0.62)
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    title_lines(figure, "Measures by block", small_print, look)
    figure.text(0.12 / width, 0.08 / height, reading, va="bottom", fontsize=6.5, color=look.faint)
    return figure


_READING = (
    "Colour: low (blue) to high (yellow) within a column, ±2 standard deviations of the signed logarithms; "
    "numbers with their 95 % intervals. Without a colour: unknown, or an enclosure of more than one deviation."
)


def _cell(measured: MeasuredBlock, name: str, alpha: float) -> str:
    kinds: dict[str, NumberKind] = {"bracket": "bracket", "lower-bound": "lower-bound"}
    kind = kinds.get(measure_column(name, alpha).kind, "estimate")
    return format_estimate(measured.measures[name], kind).joined()


def column_scores(estimates: Sequence[Estimate], kind: str) -> NDArray[np.float64]:
    """Return how far values lie from the column's mean, in standard deviations; NaN where there is no colour."""
    known = np.array([_coloured(estimate, kind) for estimate in estimates])
    values = known[:, 1]
    sizes = np.abs(values[np.isfinite(values) & (values != 0.0)])
    if not sizes.size:
        return np.where(np.isnan(values), np.nan, 0.0)
    low, values, high = np.arcsinh(known / max(sizes.min(), _LEAST_SIZE * sizes.max())).T
    while np.isfinite(values).any():
        spread = float(np.nanstd(values)) or 1.0
        vague = np.isfinite(values) & (high - low > _VAGUE * spread)
        if not vague.any():
            scores: NDArray[np.float64] = (values - np.nanmean(values)) / spread
            return scores
        values = np.where(vague, np.nan, values)  # without it the others may lie nearer together
    return values


def _coloured(estimate: Estimate, kind: str) -> tuple[float, float, float]:
    """What a cell's colour comes from, between the ends of an enclosure; not a number where it has none."""
    low, value, high = estimate.low, estimate.value, estimate.high
    if kind == "lower-bound" and low is not None:
        value = low
    if value is None:
        return np.nan, np.nan, np.nan
    if kind == "bracket" and low is not None and high is not None:
        return low, value, high
    return value, value, value
