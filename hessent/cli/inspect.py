"""`hessent inspect`: what is in a checkpoint, without loading its numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import Debug, Format, Json, Quiet, choose_format


def command(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A file, an index or a folder.")],
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what is in a checkpoint: tensors, types, step, optimizer state, and the architectures that fit it.

    Opening a checkpoint never runs code from it.
    """
    from hessent.arch.registry import fits
    from hessent.checkpoint.optimizer_state import find_optimizer_state
    from hessent.checkpoint.reader import open_checkpoint
    from hessent.cli.output import emit
    from hessent.report.inspection import inspection_document, inspection_table

    opened = open_checkpoint(checkpoint)
    found = fits(opened.shapes)
    state = find_optimizer_state(checkpoint)
    emit(
        [inspection_table(opened, found, state)],
        inspection_document(opened, found, state),
        choose_format(output_format, as_json),
    )
