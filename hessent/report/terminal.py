"""A table as lines of text for a terminal.

Columns are as wide as their widest cell, and a number is never wrapped or cut.  Where the terminal is too narrow,
the alignment of the ± goes first, then the spaces around it, then whole columns in the order of their priority, and
a note says which.  Off a terminal nothing is left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hessent.report.names import printable
from hessent.report.numbers import Formatted
from hessent.report.tables import Column, Table, footnotes, for_people, format_cell

MOST_ROWS = 5000  # of a table for people; a checkpoint may hold 200,000 tensors
COMFORTABLE_WIDTH = 120  # what is aimed at where the output has no width
_LEAST_WIDTHS = {"name": 12, "prose": 20}  # what may be folded, and how far; a number never is
_STYLES = {"flags": "yellow"}
_LEFT_ALIGNED = ("name", "text", "prose", "flags")


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
    cells: tuple[str, ...]
    width: int

    @property
    def least_width(self) -> int:
        """How narrow it can be made."""
        least = _LEAST_WIDTHS.get(self.column.kind, self.width)
        return max(min(self.width, least), cell_len(self.column.title))

    def lines(self, index: int) -> list[str]:
        """Return the cell in row `index`, folded to the column's width and padded."""
        text = self.cells[index]
        pieces = [text] if cell_len(text) <= self.width else _folded(text.rstrip(), self.width, self.column.kind)
        return [self.pad(piece) for piece in pieces]

    def pad(self, text: str) -> str:
        """Return `text` at the column's width, at its side."""
        blank = " " * (self.width - cell_len(text))
        return text + blank if self.column.kind in _LEFT_ALIGNED else blank + text


def table_lines(table: Table, width: int | None, *, in_full: str = "csv") -> list[Text]:
    """Lay out a table.

    Parameters
    ----------
    table : Table
        What to print.
    width : int or None
        Columns of the terminal; None where the output is not one: then every column is printed.
    in_full : str
        The `--format` of the command that leaves nothing out.

    Returns
    -------
    list of Text
        Facts, title, header, rows and footnotes, without trailing blanks.
    """
    left_out = len(table.rows) - MOST_ROWS
    table = replace(table, rows=table.rows[:MOST_ROWS])
    lanes, gap, hidden = _fit(table, width)
    notes = footnotes(table)
    if left_out > 0:
        notes.append(f"{left_out:,} further rows are left out. --format {in_full} or json has all.")
    if hidden:
        titles = ", ".join(column.title for column in hidden)
        notes.append(f"Too narrow for: {titles}. A wider terminal or --format {in_full} shows all.")
    lines = _fact_lines(table, width)
    if table.title:
        lines += [Text(line, style="bold") for line in _wrapped(printable(table.title), width)]
    if table.rows:
        lines += _grid_lines(lanes, gap)
    return lines + [Text(line, style="dim") for note in notes for line in _wrapped(note, width)]


def _fact_lines(table: Table, width: int | None) -> list[Text]:
    indent = max((cell_len(label) for label, _ in table.facts), default=0) + 2
    lines = []
    for label, text in table.facts:
        first, *others = _wrapped(printable(text), None if width is None else width - indent)
        lines.append(Text.assemble((label + " " * (indent - cell_len(label)), "dim"), first))
        lines += [Text(" " * indent + other) for other in others]
    return [*lines, Text()] if lines else []


def _wrapped(text: str, width: int | None) -> list[str]:
    """Break a sentence between words; off a terminal, and in words such as paths, nothing is broken."""
    if width is None or cell_len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)


def _fit(table: Table, width: int | None) -> tuple[list[_Lane], int, list[Column]]:
    """Choose columns and spacing for a width: all of them if possible, comfortably if possible."""
    shown = for_people(table)
    hidden: list[Column] = []
    while True:
        for spacing in _SPACINGS:
            lanes = [_lane(table, index, spacing) for index in shown]
            if _total(lanes, spacing.gap) <= (width or COMFORTABLE_WIDTH):
                return lanes, spacing.gap, hidden
        if width is None:
            return [_lane(table, index, _SPACINGS[0]) for index in shown], _SPACINGS[0].gap, hidden
        droppable = [index for index in shown if table.columns[index].priority]
        for spacing in _SPACINGS[2:]:
            lanes = _squeezed([_lane(table, index, spacing) for index in shown], width, spacing.gap, "prose")
            if _total(lanes, spacing.gap) <= width:
                return lanes, spacing.gap, hidden
        if not droppable:
            return _squeezed(lanes, width, spacing.gap, "name"), spacing.gap, hidden
        worst = max(droppable, key=lambda index: table.columns[index].priority)
        shown.remove(worst)
        hidden.append(table.columns[worst])


def _squeezed(lanes: Sequence[_Lane], width: int, gap: int, kind: str) -> list[_Lane]:
    """Take from the widest columns of a kind until all fit into `width`, or nothing more can be taken."""
    widths = [lane.width for lane in lanes]
    while sum(widths) + gap * (len(lanes) - 1) > width:
        soft = [
            index
            for index, lane in enumerate(lanes)
            if lane.column.kind == kind and widths[index] > lane.least_width
        ]
        if not soft:
            break
        widths[max(soft, key=lambda index: widths[index])] -= 1
    return [replace(lane, width=width) for lane, width in zip(lanes, widths, strict=True)]


def _lane(table: Table, index: int, spacing: _Spacing) -> _Lane:
    column = table.columns[index]
    cells = [format_cell(row[index], column.kind, table.flags) for row in table.rows]
    texts = _below_each_other(cells, spacing.separator) if spacing.aligned else None
    if texts is None:
        texts = [cell.joined(spacing.separator) for cell in cells]
    return _Lane(column, tuple(texts), max([cell_len(column.title), *(cell_len(text) for text in texts)]))


def _below_each_other(cells: Sequence[Formatted], separator: str) -> list[str] | None:
    """Return cells in which the values end, and the errors begin, below each other; None without any error.

    An interval shown by its ends has neither: it may stand under both.
    """
    errors = max((cell_len(cell.error) for cell in cells), default=0)
    if not errors:
        return None
    values = max(cell_len(cell.value) for cell in cells if not cell.is_interval)
    return [
        cell.value
        if cell.is_interval
        else " " * (values - cell_len(cell.value))
        + cell.value
        + (separator + cell.error if cell.error else " " * len(separator))
        + " " * (errors - cell_len(cell.error))
        for cell in cells
    ]


def _total(lanes: Sequence[_Lane], gap: int) -> int:
    return sum(lane.width for lane in lanes) + gap * (len(lanes) - 1)


def _grid_lines(lanes: Sequence[_Lane], gap: int) -> list[Text]:
    between = " " * gap
    header = between.join(lane.pad(lane.column.title) for lane in lanes)
    lines = [Text(header.rstrip(), style="bold"), Text("─" * _total(lanes, gap), style="dim")]
    for index in range(len(lanes[0].cells)):
        for pieces in zip_longest(*(lane.lines(index) for lane in lanes)):
            line = Text()
            for lane, piece in zip(lanes, pieces, strict=True):
                line.append(between if line else "")
                line.append(piece or " " * lane.width, style=_STYLES.get(lane.column.kind, ""))
            line.rstrip()
            lines.append(line)
    return lines


def _folded(text: str, width: int, kind: str) -> list[str]:
    """Cut a text into pieces of at most `width` cells: prose between words, a name anywhere, then indented."""
    if kind == "prose":
        return textwrap.wrap(text, width)
    pieces: list[str] = []
    while text:
        indent = "  " if pieces else ""
        piece = set_cell_size(text, max(width - len(indent), 1)).rstrip() or text[0]
        pieces.append(indent + piece)
        text = text[len(piece) :]
    return pieces
