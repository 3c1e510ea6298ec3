"""One step of every optimizer as a picture: how much it lowers the loss, and along which eigendirections.

On the left D of every step on a logarithmic scale: a dot with its 95 % interval at the step size used, a ring at
the best one along the same direction, a cross for what the loss really falls by.  Where a number is not positive it
stands in words.  On the right the same D by eigendirection, as shares of Σ |D_i|; left of the line it is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hessent.errors import UsageError
from hessent.measures.step_analysis import StepAnalysis, StepRow
from hessent.report.numbers import format_number
from hessent.report.plots.captions import fitted
from hessent.report.plots.picture import TITLE_HEIGHT, Look, new_figure, title_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW = 0.235  # inches
_WIDTH = 10.0
_LEAST_DECADES = 1.0


def step_figure(found: StepAnalysis, rows: Sequence[StepRow], look: Look) -> Figure:
    """Draw the steps; `rows` in the order in which they are wanted.

    Raises
    ------
    UsageError
        If there is no step with a number.
    """
    drawn = [row for row in rows if row.decrease.value is not None]
    if not drawn:
        raise UsageError("there is nothing to draw: no step has a decrease", where="--plot")
    width = look.width or _WIDTH
    body = max(_ROW * len(drawn), 0.19 * len(found.directions))
    height = look.height or body + TITLE_HEIGHT + 0.6
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        1,
        2,
        left=1.35 / width,
        right=1 - 1.75 / width,
        top=1 - (TITLE_HEIGHT + 0.05) / height,
        bottom=0.5 / height,
        wspace=0.06,
    )
    left = figure.add_subplot(grid[0, 0])
    _sizes(left, drawn, look)
    if found.directions:
        _shares(figure.add_subplot(grid[0, 1], sharey=left), found, drawn, look)
    data = f"{found.data.name}, {found.data.samples:,} samples"
    told = f"{found.checkpoint.path} · {data} · L {format_number(found.loss_value)}"
    title_lines(figure, "One step of each optimizer in the measured curvature", fitted(told, width), look)
    return figure


def _sizes(axes: Any, rows: Sequence[StepRow], look: Look) -> None:
    axes.set_xscale("log")
    for place, row in enumerate(rows):
        value, measured, best = row.decrease.value, row.measured_decrease, row.best_decrease.value
        if best is not None and best > 0.0 and row.learning_rate_from != "best":
            axes.plot(best, place, "o", markersize=7.5, fillstyle="none", color=look.faint, markeredgewidth=0.8)
        if value is not None and value > 0.0:
            axes.plot(value, place, "o", markersize=4.5, color=look.colours[0])
            low, high = row.decrease.low, row.decrease.high
            if low is not None and high is not None and high > low:
                axes.plot([max(low, value * 1e-3), high], [place, place], color=look.colours[0], linewidth=1.4)
        if measured is not None and measured > 0.0:
            axes.plot(measured, place, "x", markersize=5.5, color=look.colours[1], markeredgewidth=1.4)
    low, high = _scaled(axes)
    for place, row in enumerate(rows):
        words = [
            f"{what} {format_number(number, 2)}"
            for what, number in (("predicted", row.decrease.value), ("measured", row.measured_decrease))
            if number is not None and number <= 0.0
        ]
        if words:
            marks = [mark for mark in (row.decrease.value, row.best_decrease.value, row.measured_decrease) if mark]
            left = min((mark for mark in marks if mark > 0.0), default=high) > math.sqrt(low * high)
            at, side = (low * (high / low) ** 0.01, "left") if left else (high, "right")
            axes.text(at, place, ", ".join(words), va="center", ha=side, fontsize=6, color=look.faint)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row.optimizer for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=look.faint, alpha=0.25, linewidth=0.5)
    label = "decrease of the loss:  ● predicted   × measured   ○ at the best step size"
    axes.set_xlabel(label, labelpad=3, fontsize=7)


def _scaled(axes: Any) -> tuple[float, float]:
    """Give the logarithmic axis a decade at least, and ticks that are read without a formula."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    missing = max(_LEAST_DECADES - math.log10(high / low), 0.0) / 2
    low, high = low * 10**-missing, high * 10**missing
    axes.set_xlim(low, high)
    steps = (1.0, 2.0, 5.0) if high / low < 300.0 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: format_number(value, 1)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    return low, high


def _shares(axes: Any, found: StepAnalysis, rows: Sequence[StepRow], look: Look) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import PercentFormatter

    count = len(found.directions)
    palette = colormaps["viridis"]
    least = 0.0
    for place, row in enumerate(rows):
        parts = [direction.decrease.get(row.optimizer) for direction in found.directions]
        total = sum(abs(part) for part in parts if part is not None)
        ends = [0.0, 0.0]  # how far the bar reaches to the right, and to the left
        for index, part in enumerate(parts):
            if part is None or total == 0.0:
                continue
            side = int(part < 0.0)
            share = part / total
            rest = found.directions[index].eigenvalue is None
            colour = look.faint if rest else palette(0.05 + 0.9 * index / max(count - 2, 1))
            axes.barh(place, share, left=ends[side], height=0.72, color=colour, linewidth=0, label=None)
            ends[side] += share
        least = min(least, ends[1])
    axes.axvline(0.0, color=look.ink, linewidth=0.7)
    axes.set_xlim(least - 0.03, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.set_xlabel("D by eigendirection, of Σ |D_i|:  lost ←   → gained", labelpad=3, fontsize=7)
    _legend(axes, found, look, palette)


def _legend(axes: Any, found: StepAnalysis, look: Look, palette: Any) -> None:
    from matplotlib.patches import Patch

    count = len(found.directions)
    handles = []
    for index, direction in enumerate(found.directions):
        percent = 100 * direction.gradient_share
        share = f"{percent:.0f} %" if percent >= 1.0 else "< 1 %"
        if direction.eigenvalue is None:
            handles.append(Patch(color=look.faint, label=f"the rest · {share}"))
        else:
            colour = palette(0.05 + 0.9 * index / max(count - 2, 1))
            handles.append(Patch(color=colour, label=f"λ {format_number(direction.eigenvalue, 3)} · {share}"))
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        title="eigenvalue · of ‖g‖²",
        title_fontsize=7,
        fontsize=7,
        alignment="left",
    )
