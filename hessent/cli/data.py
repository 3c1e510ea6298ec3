"""`hessent data`: the ways to give data, those plug-ins add, and the parameters of one."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import Debug, Format, Json, Quiet, choose_format, choose_named


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show the parameters of this one.")] = None,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the ways to give data with --data, or the parameters of one of them."""
    from hessent.cli.output import emit
    from hessent.data.registry import sources
    from hessent.report.registries import source_table, sources_document, sources_table

    entries = choose_named(sources(), name, "source of data")
    table = sources_table(entries) if name is None else source_table(entries[0])
    emit([table], sources_document(entries), choose_format(output_format, as_json))
