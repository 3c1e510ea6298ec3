"""A table as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from hessent.estimate import Estimate
from hessent.report.names import printable
from hessent.report.tables import Cell, Column, Table, footnotes, for_people, format_cell


def to_csv(tables: Sequence[Table]) -> str:
    """Return tables of the same columns as one CSV text with one header; those for people alone are left out.

    Numbers are unrounded; an estimate takes four columns: its value under the column's own name, and ``_low``,
    ``_high`` and (unless it is never exact) ``_exact``.  What is unknown is empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, table in enumerate(table for table in tables if table.audience != "people"):
        shown = [index for index, column in enumerate(table.columns) if column.audience != "people"]
        if number == 0:
            writer.writerow([name for index in shown for name in _csv_names(table.columns[index])])
        for row in table.rows:
            writer.writerow([entry for index in shown for entry in _csv_entries(row[index], table.columns[index])])
    return text.getvalue()


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables as GitHub-flavoured Markdown, with their facts as a list and their notes below.

    A fact without a label goes on with the item above it.
    """
    return "\n\n".join("\n".join(_markdown_lines(table)) for table in tables) + "\n"


def _csv_names(column: Column) -> list[str]:
    if not column.is_estimate:
        return [column.key]
    ends = [column.key, f"{column.key}_low", f"{column.key}_high"]
    return ends if column.kind == "interval" else [*ends, f"{column.key}_exact"]


def _csv_entries(cell: Cell, column: Column) -> list[str]:
    if isinstance(cell, Estimate):
        entries = (cell.value, cell.low, cell.high, cell.exact)
        return [_csv_entry(entry) for entry in entries[: len(_csv_names(column))]]
    return [_csv_entry(cell)] * len(_csv_names(column))


def _csv_entry(cell: str | float | bool | tuple[str, ...] | None) -> str:
    if cell is None:
        return ""
    if isinstance(cell, tuple):
        return " ".join(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return printable(cell) if isinstance(cell, str) else repr(cell)


def _markdown_lines(table: Table) -> list[str]:
    columns = [table.columns[index] for index in for_people(table)]
    lines = [f"- {label}: {_code(text)}" if label else f"  {_code(text)}" for label, text in table.facts]
    if table.title:
        lines += [""] * bool(lines) + [_escaped(printable(table.title))]
    if table.rows:
        lines += [""] * bool(lines) + [_markdown_row([_escaped(column.title) for column in columns])]
        lines.append(_markdown_row([_rule(column) for column in columns]))
        for row in table.rows:
            cells = [(row[index], table.columns[index]) for index in for_people(table)]
            lines.append(_markdown_row([_markdown_cell(cell, column, table) for cell, column in cells]))
    notes = footnotes(table)
    return [*lines, "", *[f"{_escaped(note)}  " for note in notes]] if notes else lines


def _rule(column: Column) -> str:
    return ":--" if column.kind in ("name", "text", "prose", "flags") else "--:"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_cell(cell: Cell, column: Column, table: Table) -> str:
    text = format_cell(cell, column.kind, table.flags).joined()
    return _code(text).replace("|", "\\|") if column.kind == "name" else _escaped(text)


def _code(name: str) -> str:
    """Return a name as a code span, in which Markdown reads nothing; its fence is longer than any inside."""
    name = printable(name)
    if not name:
        return ""
    fence = "`" * (1 + max((len(run) for run in _backtick_runs(name)), default=0))
    return f"{fence} {name} {fence}" if "`" in name else f"`{name}`"


def _backtick_runs(name: str) -> list[str]:
    return "".join(letter if letter == "`" else " " for letter in name).split()


def _escaped(text: str) -> str:
    for letter in "\\`*_[]<>|~":
        text = text.replace(letter, "\\" + letter)
    return text
