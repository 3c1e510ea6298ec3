"""A table as lines of text for a terminal.

Columns are as wide as their widest cell, and a number is never wrapped or cut.  Where the terminal is too narrow,
the alignment of the ± goes first, then the spaces around it, then whole columns in the order of their priority, and
a note says which.  Off a terminal nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hessent.report.names import printable
from hessent.report.numbers import Formatted
from hessent.report.tables import Column, Table, footnotes, for_people, format_cell

COMFORTABLE_WIDTH = 120  # what is aimed at where the output has no width
_LEAST_NAME_WIDTH = 12
_STYLES = {"flags": "yellow"}
_LEFT_ALIGNED = ("name", "text", "flags")


@dataclass(frozen=True)
class _Spacing:
    """How generously the columns are set."""

    gap: int  # blanks between columns
    separator: str  # between value and error
    aligned: bool  # whether the ± of a column stand below each other


_SPACINGS = (_Spacing(2, " ± ", True), _Spacing(2, " ± ", False), _Spacing(2, "±", False), _Spacing(1, "±", False))


@dataclass(frozen=True)
class _Lane:
    """One column ready to print."""

    column: Column
    cells: tuple[str, ...]  # all of one width
    width: int


def table_lines(table: Table, width: int | None) -> list[Text]:
    """Lay out a table.

    Parameters
    ----------
    table : Table
        What to print.
    width : int or None
        Columns of the terminal; None where the output is not one: then every column is printed.

    Returns
    -------
    list of Text
        Facts, header, rows and footnotes, without trailing blanks.
    """
    lanes, gap, hidden = _fit(table, width)
    notes = footnotes(table)
    if hidden:
        titles = ", ".join(column.title for column in hidden)
        notes.append(f"Too narrow for: {titles}. A wider terminal or --format csv shows all.")
    lines = _fact_lines(table)
    if table.rows:
        lines += _grid_lines(lanes, gap, width)
    return lines + [Text(note, style="dim") for note in notes]


def _fact_lines(table: Table) -> list[Text]:
    indent = max((cell_len(label) for label, _ in table.facts), default=0)
    lines = [
        Text.assemble((_pad_right(label, indent), "dim"), "  ", printable(text)) for label, text in table.facts
    ]
    return [*lines, Text()] if lines else []


def _fit(table: Table, width: int | None) -> tuple[list[_Lane], int, list[Column]]:
    """Choose columns and spacing for a width: all of them if possible, comfortably if possible."""
    shown = for_people(table)
    hidden: list[Column] = []
    while True:
        for spacing in _SPACINGS:
            lanes = [_lane(table, index, spacing) for index in shown]
            if _total(lanes, spacing.gap) <= (width or COMFORTABLE_WIDTH):
                return lanes, spacing.gap, hidden
        droppable = [index for index in shown if table.columns[index].priority]
        if width is None:
            return [_lane(table, index, _SPACINGS[0]) for index in shown], _SPACINGS[0].gap, hidden
        if not droppable:
            return lanes, spacing.gap, hidden
        worst = max(droppable, key=lambda index: table.columns[index].priority)
        shown.remove(worst)
        hidden.append(table.columns[worst])


def _lane(table: Table, index: int, spacing: _Spacing) -> _Lane:
    column = table.columns[index]
    cells = [format_cell(row[index], column.kind, table.flags) for row in table.rows]
    texts = _below_each_other(cells, spacing.separator) if spacing.aligned else None
    if texts is None:
        texts = [cell.joined(spacing.separator) for cell in cells]
    width = max([cell_len(column.title), *(cell_len(text) for text in texts)])
    pad = _pad_right if column.kind in _LEFT_ALIGNED else _pad_left
    return _Lane(column, tuple(pad(text, width) for text in texts), width)


def _below_each_other(cells: Sequence[Formatted], separator: str) -> list[str] | None:
    """Return cells in which the values end, and the errors begin, below each other; None without any error."""
    errors = max((cell_len(cell.error) for cell in cells), default=0)
    if not errors:
        return None
    values = max(cell_len(cell.value) for cell in cells)
    blank = " " * (len(separator) + errors)
    return [
        _pad_left(cell.value, values) + (separator + _pad_right(cell.error, errors) if cell.error else blank)
        for cell in cells
    ]


def _total(lanes: Sequence[_Lane], gap: int) -> int:
    return sum(lane.width for lane in lanes) + gap * (len(lanes) - 1)


def _grid_lines(lanes: Sequence[_Lane], gap: int, width: int | None) -> list[Text]:
    first, *others = lanes
    name_width = first.width
    if width is not None:  # a name too long for the terminal is folded, numbers never
        name_width = max(min(name_width, _LEAST_NAME_WIDTH), min(name_width, width - _total(others, gap) - gap))
    between = " " * gap
    header = [_pad_right(first.column.title, name_width), *(_title(lane) for lane in others)]
    lines = [
        Text(between.join(header).rstrip(), style="bold"),
        Text("─" * (name_width + sum(lane.width + gap for lane in others)), style="dim"),
    ]
    for index, name in enumerate(first.cells):
        start, *folded = _fold(name.rstrip(), name_width)
        line = Text(_pad_right(start, name_width))
        for lane in others:
            line.append(between)
            line.append(lane.cells[index], style=_STYLES.get(lane.column.kind, ""))
        line.rstrip()
        lines += [line, *(Text("  " + part) for part in folded)]
    return lines


def _title(lane: _Lane) -> str:
    pad = _pad_right if lane.column.kind in _LEFT_ALIGNED else _pad_left
    return pad(lane.column.title, lane.width)


def _fold(name: str, width: int) -> list[str]:
    """Cut a name into pieces of at most `width` cells; the ones after the first leave room for an indent."""
    pieces: list[str] = []
    while cell_len(name) > width - 2 * bool(pieces) and name:
        piece = set_cell_size(name, max(width - 2 * bool(pieces), 1)).rstrip()
        pieces.append(piece)
        name = name[len(piece) :]
    return [*pieces, name] if name or not pieces else pieces


def _pad_left(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _pad_right(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
