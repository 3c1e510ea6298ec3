"""Lion's updates as a picture: how they are distributed, and the two Gaussians of their signal and noise.

One panel for all tensors together and one for each of the first few.  Bars are the counted updates of all
coordinates and mini-batches, the line is ½ N(μ, s²) + ½ N(−μ, s²), both as densities; what lies outside the panel
is told.  The dashed line is tanh(U μ/s²), from −1 at the bottom to 1 at the top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hessent.errors import UsageError
from hessent.measures.lion_analysis import LionAnalysis
from hessent.measures.update_signal import UpdateSignal
from hessent.measures.update_sums import UpdateSums, bin_edges
from hessent.report.names import printable
from hessent.report.plots.captions import fitted, shortened
from hessent.report.plots.picture import TITLE_HEIGHT, Look, new_figure, title_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float64Array = NDArray[np.float64]

MOST_PANELS = 6
_ACROSS = 3
_BARS = 60
_REACH = 3.5  # noise beyond the signal


def lion_figure(found: LionAnalysis, tensors: Sequence[UpdateSignal], look: Look) -> Figure:
    """Draw the updates; `tensors` in the order in which they are wanted.

    Raises
    ------
    UsageError
        If no tensor has noise.
    """
    drawn = [one for one in (found.whole, *tensors) if one.sigma.value and one.mu.value is not None][:MOST_PANELS]
    if not drawn:
        raise UsageError("there is no noise to draw: all mini-batches gave the same update", where="--plot")
    across = min(_ACROSS, len(drawn))
    down = math.ceil(len(drawn) / across)
    width = look.width or 3.0 * across + 0.4
    small_print = fitted(_told(found), width)
    title = TITLE_HEIGHT + 0.12 * small_print.count("\n")
    height = look.height or 2.2 * down + title + 0.5
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        down,
        across,
        left=0.35 / width,
        right=1 - 0.15 / width,
        top=1 - (title + 0.2) / height,
        bottom=0.55 / height,
        wspace=0.15,
        hspace=0.55,
    )
    for index, one in enumerate(drawn):
        _panel(figure.add_subplot(grid[index // across, index % across]), one, found.sums[one.name], look)
    title_lines(figure, "Updates of Lion", small_print, look)
    return figure


def _told(found: LionAnalysis) -> str:
    """What was measured of which checkpoint, and how to read it."""
    update = f"U = {found.beta1:g}·m + {1 - found.beta1:g}·g, {found.batches} mini-batches of {found.batch_size}"
    data = f"{found.data.name}, {found.data.samples:,} samples"
    reading = "line: two Gaussians · dashed: tanh, −1 to 1 · U in its noise s"
    return printable(f"{found.checkpoint.path} · {data} · {update} · {reading}")


def shares_between(sums: UpdateSums, edges: Float64Array) -> Float64Array:
    """Return the share of updates between neighbouring edges; within a bin of sizes they are spread evenly."""
    sizes, counts = bin_edges(), sums.counts.sum(axis=0)
    zeros, total = int(sums.zeros.sum()), sums.size * int(sums.batches.sum())
    negative, positive = counts
    points = np.concatenate([-sizes[::-1], sizes])
    masses = np.concatenate([negative[::-1], [zeros], positive])
    shares: Float64Array = np.diff(np.interp(edges, points, np.concatenate([[0], np.cumsum(masses)]))) / total
    return shares


def _panel(axes: Any, one: UpdateSignal, sums: UpdateSums, look: Look) -> None:
    mu, sigma = float(one.mu.value or 0.0), float(one.sigma.value or 1.0)
    end = mu / sigma + _REACH
    edges = np.linspace(-end, end, _BARS + 1)
    shares = shares_between(sums, edges * sigma)
    density = shares / np.diff(edges)
    points = np.linspace(-end, end, 400)
    right, left = (np.exp(-((points - centre) ** 2) / 2) for centre in (mu / sigma, -mu / sigma))
    pair = (right + left) / math.sqrt(8 * math.pi)
    axes.stairs(density, edges, fill=True, color=look.colours[0], alpha=0.45)
    axes.plot(points, pair, color=look.colours[1], linewidth=1.1)
    # Where much stands still, one bar is very high: the Gaussians stay visible.
    top = 1.1 * max(float(pair.max()), min(float(density.max()), 4.0 * float(pair.max())))
    axes.set_ylim(0.0, top)
    axes.plot(points, top * (1 + np.tanh(points * mu / sigma)) / 2, color=look.faint, linewidth=0.8, linestyle="--")
    axes.set_xlim(-end, end)
    axes.set_yticks([])
    outside = 1.0 - float(shares.sum())
    axes.set_xlabel("U/s" + (f"; {100 * outside:.2g} % outside" if outside > 1e-3 else ""), labelpad=2)
    model = {True: "", False: ", not Gaussian", None: ""}[one.gaussian]
    axes.set_title(f"{shortened(one.name, 30)}: μ/s {mu / sigma:.2g}{model}", loc="left")
