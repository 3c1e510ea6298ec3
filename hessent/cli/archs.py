"""`hessent archs`: the architectures that are built in, those plug-ins add, and the options of one."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import Debug, Format, Json, Quiet, choose_format, choose_named


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show the options of this one.")] = None,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the architectures that --arch knows by name, or the options of one of them."""
    from hessent.arch.registry import architectures
    from hessent.cli.output import emit
    from hessent.report.registries import architecture_table, architectures_document, architectures_table

    entries = choose_named(architectures(), name, "architecture")
    table = architectures_table(entries) if name is None else architecture_table(entries[0])
    emit([table], architectures_document(entries), choose_format(output_format, as_json))
