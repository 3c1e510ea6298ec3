"""Spectral densities: a small picture per block, the files laid over each other in it.

Across: the eigenvalue on a signed logarithmic axis (`hessent.measures.density`), with the band within ±τ shaded.
Upwards: the share of the block's eigenvalues per unit of the axis, on a logarithmic scale that ends where a tenth
of one eigenvalue is left.  The line is the mean over the probes, the band around it their least and largest, and
the marks at the axis are eigenvalues that were found one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hessent.errors import UsageError
from hessent.measures.density import NARROW, SpectralDensity, has_density, spectral_densities
from hessent.report.plots.captions import file_label, fitted, how_measured, power_of_ten, provenance, shortened
from hessent.report.plots.picture import TITLE_HEIGHT, Look, new_figure, title_lines
from hessent.report.selection import SpectrumEntry, blocks_named
from hessent.spectra.model import BlockSpectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hessent.measures.density import SignedLogAxis

_LEAST_PANEL = 2.6  # inches across
_PANEL_HEIGHT = 1.75
_MOST_ACROSS = 5
_LETTERS_PER_INCH = 13.5  # of a panel's title
_PEAK = 1 / (NARROW * math.sqrt(2 * math.pi))  # height of one eigenvalue, in eigenvalues

Panel = Mapping[int, BlockSpectrum]  # one block, by the index of its file


def density_figure(entries: Sequence[SpectrumEntry], patterns: Sequence[str], look: Look) -> Figure:
    """Draw the densities of the blocks that match, every file in a colour of its own.

    Parameters
    ----------
    entries : sequence of SpectrumEntry
        Files, the first in the first colour.
    patterns : sequence of str
        Globs for names of blocks; none for all.
    look : Look
        Colours and size.

    Raises
    ------
    UsageError
        If a glob matches nothing, nothing but traces was measured, or there are more files than colours.
    """
    if len(entries) > len(look.colours):
        raise UsageError(
            f"{len(entries)} files cannot be told apart in one picture", expected=f"up to {len(look.colours)}"
        )
    panels = _panels(entries, patterns)
    across, width, height = _layout(len(panels), look, legend=len(entries) > 1)
    figure = new_figure(width, height)
    down = -(-len(panels) // across)
    titles = TITLE_HEIGHT + (0.22 * len(entries) if len(entries) > 1 else 0.0)
    grid = figure.add_gridspec(
        down,
        across,
        left=0.52 / width,
        right=1 - 0.15 / width,
        top=1 - (titles + 0.34) / height,
        bottom=0.62 / height,
        hspace=0.62 / max((height - titles - 0.96 - 0.62 * (down - 1)) / down, 0.3),
        wspace=0.42 / max((width - 0.67 - 0.42 * (across - 1)) / across, 0.3),
    )
    letters = int((width - 0.67) / across * _LETTERS_PER_INCH)
    for index, (name, panel) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[index // across, index % across])
        _draw_panel(axes, panel, look)
        axes.set_title(shortened(name, letters), loc="left", pad=13)
        axes.text(
            0.0,
            1.0,
            f"n = {next(iter(panel.values())).size:,} · {how_measured(list(panel.values()))}",
            transform=axes.transAxes,
            va="bottom",
            fontsize=6.5,
            color=look.faint,
        )
    title_lines(figure, "Spectral density", fitted(provenance(entries), width), look)
    if len(entries) > 1:
        _draw_legend(figure, entries, look)
    figure.text(0.12 / width, 0.08 / height, fitted(_READING, width), va="bottom", fontsize=6.5, color=look.faint)
    return figure


_READING = (
    "Across: eigenvalue λ, signed log; shaded: |λ| ≤ τ. Up: share of eigenvalues per decade. "
    "Line: mean of the probes; band: their least to largest; marks: outliers (of exact blocks the two ends)."
)


def _panels(entries: Sequence[SpectrumEntry], patterns: Sequence[str]) -> dict[str, Panel]:
    panels: dict[str, dict[int, BlockSpectrum]] = {}
    for index, entry in enumerate(entries):
        for block in blocks_named(entry, patterns):
            if has_density(block):
                panels.setdefault(block.name, {})[index] = block
    if not panels:
        raise UsageError(
            "there is no density to draw: no block was measured, or of all of them the trace alone",
            where=", ".join(entry.file for entry in entries),
            fix="hessent spectrum … without --only trace",
        )
    # The whole model last, also where only some of the files have it.
    return {name: panels[name] for name in sorted(panels, key=lambda name: name == "full")}


def _layout(count: int, look: Look, *, legend: bool) -> tuple[int, float, float]:
    """Return how many panels stand side by side, and the size of the picture."""
    if look.width is not None:
        across = max(1, min(count, int(look.width / _LEAST_PANEL)))
    else:
        across = min(count, _MOST_ACROSS, math.ceil(math.sqrt(count)))
    width = look.width or max(across * (_LEAST_PANEL + 0.3), 5.2)
    panel = _PANEL_HEIGHT if count > 1 else 2.6
    height = look.height or TITLE_HEIGHT + 0.45 * legend + 0.5 + -(-count // across) * (panel + 0.4)
    return across, width, height


def _draw_panel(axes: Any, panel: Panel, look: Look) -> None:
    densities = spectral_densities(list(panel.values()))
    axis = densities[0].axis
    floor = 0.1 * _PEAK / max(block.size for block in panel.values())
    top = 2.0 * max(float(density.high.max()) for density in densities)
    for file, density in zip(panel, densities, strict=True):
        colour = look.colours[file]
        edge = float(axis.position(np.array(density.tau)))
        axes.axvspan(-edge, edge, color=look.faint, alpha=0.18, linewidth=0, zorder=0)
        low, high = (np.maximum(side, floor / 10) for side in (density.low, density.high))
        axes.fill_between(density.grid, low, high, color=colour, alpha=0.3, linewidth=0)
        axes.plot(density.grid, np.maximum(density.mean, floor / 10), color=colour, linewidth=1.0)
    _draw_marks(axes, panel, densities, look)
    axes.set_yscale("log")
    axes.set_ylim(floor, top)
    axes.set_xlim(*_ends(densities, floor))
    _tick_decades(axes, axis)
    axes.tick_params(length=2.5, width=0.6, pad=2)
    _tick_shares(axes, floor, top)


def _draw_marks(axes: Any, panel: Panel, densities: Sequence[SpectralDensity], look: Look) -> None:
    """Set marks at the axis, a row per file."""
    rows = 0.07 / len(panel)
    for row, (file, density) in enumerate(zip(panel, densities, strict=True)):
        axes.eventplot(
            density.axis.position(density.marks),
            lineoffsets=rows * (row + 0.5),
            linelengths=rows,
            linewidths=0.7,
            colors=look.colours[file],
            transform=axes.get_xaxis_transform(),
        )


def _ends(densities: Sequence[SpectralDensity], floor: float) -> tuple[float, float]:
    """Return the part of the axis in which something is visible, always with zero in it."""
    shown = np.concatenate([d.grid[d.high > floor] for d in densities] + [np.array([-0.5, 0.5])])
    return float(shown.min()) - 0.1, float(shown.max()) + 0.1


def _tick_decades(axes: Any, axis: SignedLogAxis) -> None:
    """Label zero and some powers of ten of either sign, as many as there is room for."""
    first, last = axes.get_xlim()
    lowest = math.ceil(math.log10(axis.linear))
    reach = float(axis.eigenvalue(np.array(max(-first, last))))
    exponents = list(range(lowest + 1, math.floor(math.log10(max(reach, axis.linear))) + 1))
    every = max(1, math.ceil((last - first) / 5.5))
    values = [0.0] + [sign * 10.0**e for e in exponents[::-1][::every] for sign in (1.0, -1.0)]
    positions = axis.position(np.array(values))
    shown = [(float(u), v) for u, v in zip(positions, values, strict=True) if first <= u <= last]
    axes.set_xticks([u for u, _ in shown], [power_of_ten(v) for _, v in shown])


def _tick_shares(axes: Any, floor: float, top: float) -> None:
    exponents = range(math.ceil(math.log10(floor)), math.floor(math.log10(top)) + 1)
    every = max(1, math.ceil(len(exponents) / 5))
    shown = list(exponents)[::-1][::every]
    axes.set_yticks([10.0**e for e in shown], [power_of_ten(10.0**e) for e in shown])
    axes.minorticks_off()


def _draw_legend(figure: Figure, entries: Sequence[SpectrumEntry], look: Look) -> None:
    width, height = figure.get_figwidth(), figure.get_figheight()
    for row, entry in enumerate(entries):
        down = 1 - (TITLE_HEIGHT - 0.06 + 0.19 * row) / height
        label = shortened(file_label(entry, entries), max(12, int(width * 13)))
        figure.text(0.12 / width, down, "▬", va="top", fontsize=9, color=look.colours[row])
        figure.text(0.34 / width, down, label, va="top", fontsize=8)
