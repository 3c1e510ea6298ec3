"""A `Table` as HTML: the same rows, words and numbers as in the terminal, in a box that scrolls by itself.

Each number stands in its cell with eight digits, too (``data-value``, and of an estimate ``data-low`` and
``data-high``, unless it is exact): by it the column is sorted, and a program finds it there.  What is exact says
so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hessent.estimate import Estimate
from hessent.report.page.html import Markup, element, joined
from hessent.report.tables import Cell, CellKind, Column, Table, footnotes, for_people, format_cell

MOST_ROWS = 2000  # of a table; a checkpoint may hold 200,000 tensors
_DIGITS = 8  # of the number behind a cell; JSON has them all
_LONG = 28  # letters of a cell that may be broken into lines
_LEFT_ALIGNED = ("name", "text", "prose", "flags")

Shades = Mapping[tuple[int, str], int]
"""Shade of cells, 0 to 8, by row and key of the column."""


def table_box(table: Table, caption: str, shades: Shades | None = None) -> Markup:
    """Return a table with its facts above and its notes below.

    Parameters
    ----------
    table : Table
        What to show.
    caption : str
        Its name, where it has no title of its own.
    shades : mapping, optional
        Shades of cells.
    """
    notes = footnotes(table)
    if len(table.rows) > MOST_ROWS:
        notes.append(f"{len(table.rows) - MOST_ROWS:,} further rows are left out; hessent summary --json has all.")
    grid = _grid(table, table.title or caption, shades or {}) if table.rows else None
    listed = [element("li", note) for note in notes]
    return joined(
        fact_list(table.facts),
        grid,
        element("ul", *listed, class_="notes") if listed else None,
    )


def fact_list(facts: tuple[tuple[str, str], ...]) -> Markup | None:
    """Return labelled lines, None where there are none."""
    if not facts:
        return None
    lines = [joined(element("dt", label), element("dd", text)) for label, text in facts]
    return element("dl", *lines, class_="facts")


def _grid(table: Table, caption: str, shades: Shades) -> Markup:
    shown = for_people(table)
    head = [_header(table.columns[index]) for index in shown]
    rows = []
    for number, row in enumerate(table.rows[:MOST_ROWS]):
        cells = [
            _cell(row[index], table, index, place == 0, shades.get((number, table.columns[index].key)))
            for place, index in enumerate(shown)
        ]
        rows.append(element("tr", *cells))
    grid = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", joined(*rows)),
        class_="shaded" if shades else None,
    )
    return element("div", grid, class_="scroll", role="region", tabindex=0, aria_label=caption)


def _header(column: Column) -> Markup:
    title: str | Markup = column.title
    if column.kind == "flags":
        title = element("span", "marks", class_="unseen")
    return element("th", title, scope="col", class_="left" if column.kind in _LEFT_ALIGNED else None)


def _cell(cell: Cell, table: Table, index: int, heads_row: bool, shade: int | None) -> Markup:
    kind = table.columns[index].kind
    formatted = format_cell(cell, kind, table.flags)
    value: str | Markup = formatted.value
    if formatted.error:
        value = Markup(joined(formatted.value) + " " + element("small", "± " + formatted.error))
    elif isinstance(cell, Estimate) and cell.exact and kind != "interval":
        value = Markup(joined(formatted.value) + " " + element("small", "exact"))
    classes = ["left"] if kind in _LEFT_ALIGNED else []
    classes += ["long"] if len(formatted.value) > _LONG else []
    classes += [] if shade is None else [f"h{shade}"]
    attributes = {"class_": " ".join(classes) or None, **_data(cell, kind)}
    if heads_row:
        return element("th", value, scope="row", **attributes)
    return element("td", value, **attributes)


def _data(cell: Cell, kind: CellKind) -> dict[str, str | None]:
    """The number behind a cell: what a column is sorted by, and both ends of an interval."""
    if isinstance(cell, Estimate):
        ends = [None if cell.exact else _written(end) for end in (cell.low, cell.high)]
        own = cell.low if kind == "lower-bound" and cell.low is not None else cell.value
        known = [number for number in (own, cell.low, cell.high) if number is not None]
        if own is None and len(known) == 2:
            known = [(known[0] + known[1]) / 2]
        return {"data_value": _written(known[0]) if known else None, "data_low": ends[0], "data_high": ends[1]}
    if isinstance(cell, int) and not isinstance(cell, bool):
        return {"data_value": str(cell)}
    if isinstance(cell, float):
        return {"data_value": _written(cell)}
    return {}


def _written(number: float | None) -> str | None:
    return None if number is None or not math.isfinite(number) else f"{number:.{_DIGITS}g}"
