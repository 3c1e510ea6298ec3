"""A table as data: typed columns, typed cells, built in one place and printed in another.

The same `Table` is rendered for a terminal, as Markdown and as CSV; JSON documents are built from the numbers
themselves.  A cell never holds a formatted number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hessent.estimate import Estimate
from hessent.report.names import printable
from hessent.report.numbers import UNKNOWN, Formatted, NumberKind, format_estimate, format_number

CellKind = Literal[
    "name", "text", "prose", "count", "number", "flags", "estimate", "bracket", "lower-bound", "interval"
]
_RANGE = "a–b"
Cell = str | int | float | bool | Estimate | tuple[str, ...] | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    key : str
        Its name for programs (the header in CSV).
    title : str
        Its header for people.
    kind : str
        What its cells hold: names (untrusted text), text, prose (text that may be folded between words), counts,
        plain numbers, flags, or estimates: shown as value ± error, as a bracket, as a lower bound, or (interval) as
        value ± error of a number that is never exact.
    audience : {"all", "people", "programs"}
        Who sees it.
    priority : int
        Where a terminal is too narrow, columns of the highest priority number go first; 0 never goes.
    """

    key: str
    title: str
    kind: CellKind = "text"
    audience: Literal["all", "people", "programs"] = "all"
    priority: int = 0

    @property
    def is_estimate(self) -> bool:
        """Whether its cells are estimates."""
        return self.kind in ("estimate", "bracket", "lower-bound", "interval")


@dataclass(frozen=True)
class Flag:
    """A mark that rows may carry: a key for programs, a symbol for people, and what it means (a sentence)."""

    key: str
    symbol: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """A table with the facts above it and the notes below.

    Attributes
    ----------
    columns : tuple of Column
        From left to right.
    rows : tuple of tuple of Cell
        One cell per column; an unknown one is None or an `Estimate` with a reason.
    facts : tuple of (str, str)
        Label and text of each line above.
    notes : tuple of str
        Sentences below.
    flags : tuple of Flag
        The marks that may occur in the column of kind "flags".
    title : str
        A sentence above the header, where the table does not speak for itself.
    audience : {"all", "people"}
        Who sees it: a table for people alone repeats what programs find in the columns of another.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    title: str = ""
    audience: Literal["all", "people"] = "all"


def without_empty_columns(table: Table) -> Table:
    """Return the table without, for people, the columns of estimates of which nothing is known in any row."""
    columns = [
        replace(column, audience="programs")
        if column.is_estimate and all(is_unknown(row[index]) for row in table.rows)
        else column
        for index, column in enumerate(table.columns)
    ]
    return replace(table, columns=tuple(columns))


def is_unknown(cell: Cell) -> bool:
    """Whether a cell is not an estimate, or one of which neither the value nor an end is known."""
    return not isinstance(cell, Estimate) or (cell.value is None and cell.low is None and cell.high is None)


def for_people(table: Table) -> list[int]:
    """Return the indices of the columns that people see; a column of flags only where one is raised."""
    return [
        index
        for index, column in enumerate(table.columns)
        if column.audience != "programs" and (column.kind != "flags" or any(row[index] for row in table.rows))
    ]


def format_cell(cell: Cell, kind: CellKind, flags: Sequence[Flag] = ()) -> Formatted:
    """Return a cell as people read it.

    Parameters
    ----------
    cell : Cell
        The value.
    kind : CellKind
        The kind of its column.
    flags : sequence of Flag
        The flags of the table, for a cell of that kind.

    Returns
    -------
    Formatted
        Text without any control character.
    """
    if isinstance(cell, Estimate):
        return format_estimate(cell, _number_kind(kind))
    if cell is None:
        return Formatted(UNKNOWN)
    if isinstance(cell, tuple):
        return Formatted("".join(flag.symbol for flag in flags if flag.key in cell))
    if isinstance(cell, bool):
        return Formatted("yes" if cell else "no")
    if isinstance(cell, int):
        return Formatted(f"{cell:,}")
    if isinstance(cell, float):
        return Formatted(format_number(cell))
    return Formatted(printable(cell))


def footnotes(table: Table) -> list[str]:
    """Return what stands below a table: the flags that occur, why numbers are unknown, then its own notes."""
    lines = []
    raised = [cell for row in table.rows for cell in row if isinstance(cell, tuple)]
    for flag in table.flags:
        count = sum(flag.key in cell for cell in raised)
        if count:
            lines.append(f"{flag.symbol} {flag.meaning} ({_counted(count, 'row')})")
    reasons: dict[tuple[str, str], list[str]] = {}
    for index in for_people(table):
        for row in table.rows:
            cell = row[index]
            if isinstance(cell, Estimate) and cell.reason is not None and cell.value is None:
                mark = UNKNOWN if is_unknown(cell) else _RANGE  # the cell shows what is known: its ends
                reasons.setdefault((mark, cell.reason), []).append(table.columns[index].title)
    for (mark, reason), titles in reasons.items():
        lines.append(f"{mark} {reason} ({', '.join(dict.fromkeys(titles))}; {_counted(len(titles), 'number')})")
    return [printable(line) for line in [*lines, *table.notes]]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _number_kind(kind: CellKind) -> NumberKind:
    return kind if kind == "bracket" or kind == "lower-bound" else "estimate"
