"""Where a spectrum may be written to."""

from __future__ import annotations

import os
from pathlib import Path

from hessent.errors import UsageError


def refuse_folder(target: Path) -> None:
    """Refuse a target that is a folder, or lies in one that does not exist.

    Raises
    ------
    UsageError
        If it is so.
    """
    if os.path.isdir(target):
        raise UsageError("is a folder", where=str(target), expected="the name of a file", fix="-o FILE.spectrum.h5")
    if not os.path.isdir(target.parent):
        raise UsageError(
            f"the folder '{target.parent}' does not exist", where=str(target), fix=f"mkdir -p '{target.parent}'"
        )


def refuse_link(target: Path) -> None:
    """Refuse to write through a link that nobody named: it may have come with a downloaded checkpoint.

    Raises
    ------
    UsageError
        If the file beside the checkpoint is a link that leads out of its folder.
    """
    leads_to = os.path.realpath(target)
    if os.path.islink(target) and os.path.dirname(leads_to) != os.path.realpath(target.parent):
        raise UsageError(
            f"is a link that leads out of its folder, to '{leads_to}'",
            where=str(target),
            expected="no link where the result is written without --out",
            fix=f"-o '{target}' if that is meant",
        )
