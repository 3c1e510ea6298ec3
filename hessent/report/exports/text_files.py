"""A tidy table as CSV and as JSON.

**Names in CSV.** Names may come from a stranger's checkpoint.  In CSV a character that cannot be seen is written as
an escape, as in every table; and a text that a spreadsheet would run as a formula (it begins with ``=``, ``+``,
``-`` or ``@``) gets an apostrophe in front, which shows it as text.  JSON and parquet hold the names as they are.
"""

from __future__ import annotations

import csv
import io

from hessent.report.document import to_json
from hessent.report.exports.tidy_rows import Entry, TidyTable
from hessent.report.names import printable

_STARTS_A_FORMULA = ("=", "+", "-", "@")


def csv_text(table: TidyTable) -> str:
    """Return a table as CSV with a header; numbers unrounded, what is missing empty.

    Parameters
    ----------
    table : TidyTable
        What is written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in table.columns])
    writer.writerows([_csv_entry(entry) for entry in row] for row in table.rows)
    return text.getvalue()


def json_text(table: TidyTable) -> str:
    """Return a table as a JSON document: its name, and each row as an object.

    Parameters
    ----------
    table : TidyTable
        Of finite numbers.
    """
    names = [name for name, _ in table.columns]
    return to_json({"schema": table.name, "rows": [dict(zip(names, row, strict=True)) for row in table.rows]})


def _csv_entry(entry: Entry) -> str:
    if entry is None:
        return ""
    if isinstance(entry, bool):
        return "true" if entry else "false"
    if not isinstance(entry, str):
        return repr(entry)
    shown = printable(entry)
    return f"'{shown}" if shown.lstrip().startswith(_STARTS_A_FORMULA) else shown
