"""The picture of the Lion analysis as a file."""

from __future__ import annotations

from hessent.errors import UsageError
from hessent.measures.lion_analysis import LionAnalysis
from hessent.report.lion_table import sorted_tensors
from hessent.report.plots.picture import Look, drawing, file_format, picture_bytes, require_matplotlib
from hessent.storage.whole_file import write_whole


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


def write_picture(found: LionAnalysis, sort: str, path: str) -> None:
    """Draw the updates of all tensors and of the first few in the order of the table."""
    from hessent.report.plots.lion_plot import lion_figure

    look = Look()
    with drawing(look):
        content = picture_bytes(lion_figure(found, sorted_tensors(found.tensors, sort), look), file_format(path))
    write_whole(path, content)
