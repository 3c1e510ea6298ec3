"""Every option that more than one command has, defined once.

A command takes one by annotating a parameter with its type here: ``def command(quiet: Quiet = False, …)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from hessent.cli.console import session
from hessent.errors import UsageError, suggest

if TYPE_CHECKING:
    from hessent.report.selection import Selection

SHOWN = "What is shown"
OUTPUT = "Output"
GENERAL = "General"


class OutputFormat(StrEnum):
    """The forms in which a table can be printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


def choose_format(output_format: OutputFormat | None, as_json: bool) -> OutputFormat:
    """Join `--format` and its short form `--json`; raises UsageError if both are given and differ."""
    refuse_two_formats(output_format, as_json)
    return OutputFormat.JSON if as_json else output_format or OutputFormat.TABLE


def refuse_two_formats(output_format: StrEnum | None, as_json: bool) -> None:
    """Refuse `--json` beside another `--format`.

    Raises
    ------
    UsageError
        If both are given and differ.
    """
    if as_json and output_format not in (None, "json"):
        raise UsageError(
            f"--json and --format {output_format} ask for two formats at once", fix="give only one of them"
        )


def choose_selection(
    measures: list[str] | None,
    blocks: list[str] | None,
    sort: str | None,
    alpha: float,
    *,
    every_measure: bool = False,
) -> Selection:
    """Return what `--measure`, `--block`, `--sort` and `--alpha` select.

    Parameters
    ----------
    measures, blocks, sort, alpha
        As typed.
    every_measure : bool
        Whether all measures are meant where none is named, rather than the headline.

    Raises
    ------
    UsageError
        For a name or a number that does not exist.
    """
    from hessent.measures.registry import measure_names
    from hessent.report.selection import HEADLINE, Selection

    default = measure_names() if every_measure else HEADLINE
    return Selection(tuple(measures or default), tuple(blocks or ()), sort, alpha)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=_Named)


def choose_named(entries: Sequence[Entry], name: str | None, noun: str) -> list[Entry]:
    """Return the entries of a registry, or the one that was asked for.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    chosen = [entry for entry in entries if name is None or entry.name == name]
    if not chosen:
        known = [entry.name for entry in entries]
        raise UsageError(f"there is no {noun} '{name}'", expected=", ".join(known), fix=suggest(str(name), known))
    return chosen


def _set_quiet(value: bool) -> bool:
    session.quiet = session.quiet or value
    return value


def _set_debug(value: bool) -> bool:
    session.debug = session.debug or value
    return value


Format = Annotated[
    OutputFormat | None,
    typer.Option(
        "--format",
        help="How to print: table (the default), json, csv or markdown.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print only results and errors.",
        callback=_set_quiet,
        is_eager=True,
        rich_help_panel=GENERAL,
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="On an error, show the Python traceback too.",
        callback=_set_debug,
        is_eager=True,
        rich_help_panel=GENERAL,
    ),
]
MeasureNames = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        "-m",
        metavar="NAME",
        help="Show this measure (repeatable): trace, lambda_max, entropy_gap, … JSON always holds all.",
        show_default=False,
        rich_help_panel=SHOWN,
    ),
]
Blocks = Annotated[
    list[str] | None,
    typer.Option(
        "--block",
        metavar="GLOB",
        help="Show blocks whose name matches (repeatable): 'layer4.*', full.",
        show_default=False,
        rich_help_panel=SHOWN,
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="MEASURE",
        help="Largest first, by a measure or by size; without it, in the model's order.",
        show_default=False,
        rich_help_panel=SHOWN,
    ),
]
Alpha = Annotated[
    float,
    typer.Option(
        "--alpha", metavar="ORDER", help="Rényi order of the entropies, from 0 to inf.", rich_help_panel=SHOWN
    ),
]
