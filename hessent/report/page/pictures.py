"""The pictures of a page: panels of the figures that `hessent plot` draws, each by itself."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hessent.measures.density import has_density
from hessent.report.measure_columns import measure_column
from hessent.report.names import printable
from hessent.report.page.html import Markup, element, joined
from hessent.report.page.svg import Pictures
from hessent.report.page.svg_path import NEAR
from hessent.report.plots.picture import Look, drawing, new_figure
from hessent.report.selection import Selection, SpectrumEntry

if TYPE_CHECKING:
    from hessent.report.comparison import Comparison
    from hessent.report.comparison_rows import Row

_LIGHT = Look()
MOST_FILES = len(_LIGHT.colours)  # that can be told apart in one picture
_ROOM_BELOW = 0.16  # inches, for the name of the axis
_PANEL = (2.9, 2.1)  # inches

READING = (
    "Across: eigenvalue λ, signed logarithmic; shaded: |λ| ≤ τ. Up: share of eigenvalues per decade. Line: mean of "
    "the probes; band: their least to largest, no 95 % interval; marks: outliers, of exact blocks the two ends."
)


def density_panels(
    pictures: Pictures, entries: Sequence[SpectrumEntry], names: Sequence[str], near: float = NEAR
) -> dict[str, Markup]:
    """Return the density of each block that all entries have, the entries laid over each other.

    Parameters
    ----------
    pictures : Pictures
        Of the page.
    entries : sequence of SpectrumEntry
        The first in the first colour.
    names : sequence of str
        Names of blocks.
    near : float
        How near to a curve points are that are left out.
    """
    from hessent.report.plots.density_plot import density_figure

    held = [{block.name: block for block in entry.spectrum.blocks} for entry in entries]
    common = [name for name in held[0] if name in names and all(name in own for own in held)]
    found = [name for name in common if any(has_density(own[name]) for own in held)]
    if not found:
        return {}
    drawn = sorted(found, key=lambda name: name == "full")  # the order of the panels
    with drawing(_LIGHT):
        figure = density_figure(entries, [glob.escape(name) for name in drawn], _LIGHT)
        panels = pictures.panels(figure, [f"Spectral density of {printable(name)}" for name in drawn], near=near)
    return dict(zip(drawn, panels, strict=True))


def run_panels(pictures: Pictures, entries: Sequence[SpectrumEntry], selection: Selection) -> list[Markup]:
    """Return a panel for each measure over the steps of a run.

    Raises
    ------
    UsageError
        If the entries are not the steps of one run.
    """
    from hessent.report.plots.run_plot import run_figure

    with drawing(_LIGHT):
        figure = run_figure(entries, selection, _LIGHT)
        titles = [measure_column(name, 1.0).title for name in selection.measures]
        return pictures.panels(figure, [f"{title} over the training steps" for title in titles], _ROOM_BELOW)


def progress_panels(pictures: Pictures, comparison: Comparison) -> list[Markup]:
    """Return a panel for each measure over the share of the training, a line for each run.

    Parameters
    ----------
    pictures : Pictures
        Of the page.
    comparison : Comparison
        Its first block is shown.
    """
    from hessent.report.plots.run_plot import draw_line, label_powers

    block, places, across = comparison.blocks[0], *_places(comparison.rows)
    width, height = _PANEL
    panels = []
    with drawing(_LIGHT):
        for name in comparison.measures:
            figure = new_figure(width, height)
            axes = figure.add_axes((0.5 / width, 0.5 / height, 1 - 0.65 / width, 1 - 0.85 / height))
            for index in range(len(comparison.runs)):
                points = [
                    (place, own.blocks[block].measures[name])
                    for place, row in zip(places, comparison.rows, strict=True)
                    if (own := row.checkpoints[index]) is not None and block in own.blocks
                ]
                draw_line(axes, points, _LIGHT.colours[index], name)
            label_powers(axes)
            axes.margins(x=0.06, y=0.12)
            axes.grid(axis="y", color=_LIGHT.faint, alpha=0.25, linewidth=0.5)
            axes.set_title(measure_column(name, 1.0).title, loc="left")
            axes.set_xlabel(across, labelpad=2)
            label = f"{measure_column(name, 1.0).title} of every run over the training"
            panels += pictures.panels(figure, [label], _ROOM_BELOW)
    return panels


def figure_of(panels: Sequence[Markup], caption: str, names: Mapping[str, int] | None = None) -> Markup:
    """Return pictures side by side, as many as there is room for, with a caption.

    Parameters
    ----------
    panels : sequence of Markup
        Pictures.
    caption : str
        What they show.
    names : mapping of str to int, optional
        Number of the colour that each name has in them.
    """
    keys = [
        element("span", element("span", "■", class_=f"k{number}", aria_hidden="true"), " " + name)
        for name, number in (names or {}).items()
    ]
    legend = element("p", *keys, class_="legend") if keys else None
    grid = element("div", joined(*panels), class_="panels")
    return element("figure", legend, grid, element("figcaption", caption))


def _places(rows: Sequence[Row]) -> tuple[list[int], str]:
    """Where the rows stand on the axis, and what it shows: per cent of the training, or steps."""
    if all(row.progress is not None for row in rows):
        return [round(100 * (row.progress or 0.0)) for row in rows], "% of the training"
    steps = [next((own.step or 0 for own in row.checkpoints if own is not None), 0) for row in rows]
    return steps, "training step"
