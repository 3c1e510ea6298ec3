"""A tidy table as parquet: typed columns, missing entries null, names as they are."""

from __future__ import annotations

import io
from typing import Any

from hessent.report.exports.optional_package import load_package
from hessent.report.exports.tidy_rows import Entry, TidyTable

_TYPES = {"text": "string", "count": "int64", "number": "float64", "truth": "bool_"}


def require_pyarrow() -> Any:
    """Load pyarrow.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    return load_package("pyarrow", "parquet", "parquet files are")


def parquet_bytes(table: TidyTable) -> bytes:
    """Return a table as a parquet file; the name of the table stands in its metadata as ``hessent``.

    Parameters
    ----------
    table : TidyTable
        What is written.
    """
    arrow = require_pyarrow()
    parquet = load_package("pyarrow.parquet", "parquet", "parquet files are")
    fields = [(name, getattr(arrow, _TYPES[kind])()) for name, kind in table.columns]
    columns = list(zip(*table.rows, strict=True)) or [()] * len(fields)
    arrays = [
        arrow.array(map(_entry, column), type=kind) for column, (_, kind) in zip(columns, fields, strict=True)
    ]
    schema = arrow.schema(fields, metadata={"hessent": table.name})
    content = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), content)
    return content.getvalue()


def _entry(entry: Entry) -> Entry:
    """A name of a file need not be valid Unicode; what is not has no place in a parquet file."""
    return entry.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(entry, str) else entry
