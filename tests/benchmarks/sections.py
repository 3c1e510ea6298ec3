"""What one benchmark found: rows for the table and for the JSON file, and the bars they are held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import Bar, Spread


@dataclass
class Section:
    """One table.

    Attributes
    ----------
    title : str
    notes : list of str
        What was measured, and what was left out and why.
    rows : list of dict
        Column to value, all rows with the same columns.
    bars : list of Bar
    """

    title: str
    notes: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the section as Markdown."""
        yield f"## {self.title}"
        yield ""
        yield from self.notes
        if self.rows:
            yield ""
            yield from table(list(self.rows[0]), [list(row.values()) for row in self.rows])
        if self.bars:
            yield ""
            yield from bar_table(self.bars)

    def document(self) -> dict[str, Any]:
        """Return the section for a JSON file."""
        return {
            "title": self.title,
            "notes": self.notes,
            "rows": [{name: _plain(value) for name, value in row.items()} for row in self.rows],
            "bars": [{**_plain(bar), "found": _plain(bar.found), "verdict": bar.verdict} for bar in self.bars],
        }


def bar_table(bars: list[Bar]) -> Iterator[str]:
    """Yield the claims beside what was found."""
    yield from table(["bar", "found", "verdict"], [[bar.claim, bar.found, bar.verdict] for bar in bars])


def table(columns: list[str], rows: list[list[Any]]) -> Iterator[str]:
    """Yield a Markdown table."""
    for cells in (columns, ["---"] * len(columns), *rows):
        yield "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    return dict(vars(value)) if isinstance(value, Spread | Bar) else value
