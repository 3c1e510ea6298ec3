"""The picture of the analysis of one step as a file."""

from __future__ import annotations

from hessent.errors import UsageError
from hessent.measures.step_analysis import StepAnalysis
from hessent.report.plots.picture import Look, drawing, file_format, picture_bytes, require_matplotlib
from hessent.report.step_order import sorted_rows
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


def write_picture(found: StepAnalysis, sort: str, path: str) -> None:
    """Draw the decrease of every step, and along which eigendirections it comes, in the order of the table."""
    from hessent.report.plots.step_plot import step_figure

    look = Look()
    with drawing(look):
        content = picture_bytes(step_figure(found, sorted_rows(found.rows, sort), look), file_format(path))
    write_whole(path, content)
