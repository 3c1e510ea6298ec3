"""Printing what a command found, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from hessent.cli.console import results, terminal_width, write_lines, write_text
from hessent.cli.options import OutputFormat
from hessent.report.document import to_json
from hessent.report.plain import to_csv, to_markdown
from hessent.report.tables import Table
from hessent.report.terminal import table_lines


def emit(tables: Sequence[Table], document: Mapping[str, Any], output_format: OutputFormat) -> None:
    """Print tables, or the document that says the same, to standard output.

    Parameters
    ----------
    tables : sequence of Table
        For people and for CSV (there the tables must have the same columns).
    document : mapping
        For `--format json`.
    output_format : OutputFormat
        What was asked for.
    """
    if output_format is OutputFormat.JSON:
        write_text(to_json(document))
    elif output_format is OutputFormat.CSV:
        write_text(to_csv(tables))
    elif output_format is OutputFormat.MARKDOWN:
        write_text(to_markdown(tables))
    else:
        console = results()
        for number, table in enumerate(tables):
            write_lines(console, [Text()] * bool(number) + table_lines(table, terminal_width(console)))
