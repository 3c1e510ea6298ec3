"""The picture that an analysis of one checkpoint (`lion`, `step`) draws beside its table, as a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hessent.errors import UsageError
from hessent.report.plots.picture import Look, drawing, file_format, picture_bytes, require_matplotlib
from hessent.storage.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_picture(path: str) -> None:
    """Refuse, before anything is computed, a picture that could not be drawn.

    Raises
    ------
    UsageError
        If the name does not say its kind, or matplotlib is not installed.
    """
    try:
        file_format(path)
    except UsageError as error:
        error.where = "--plot"
        raise
    require_matplotlib()


def write_picture(path: str, draw: Callable[[Look], Figure]) -> None:
    """Write what `draw` draws, whole or not at all."""
    look = Look()
    with drawing(look):
        content = picture_bytes(draw(look), file_format(path))
    write_whole(path, content)
