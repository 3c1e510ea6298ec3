"""One way to every target: the content of a file, or runs handed to a tracker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hessent.errors import UsageError
from hessent.report.exports.sources import Source
from hessent.report.exports.targets import Content, Target
from hessent.report.selection import Selection

if TYPE_CHECKING:
    from hessent.report.exports.tidy_rows import TidyTable


def refuse_options(
    target: Target, what: Content, *, measures: bool, other_order: bool, project: str | None
) -> None:
    """Refuse options that would say nothing; and a target whose package is missing, before anything is read.

    Parameters
    ----------
    target : Target
        Where to.
    what : Content
        What is exported.
    measures, other_order : bool
        Whether measures were named, or a Rényi order.
    project : str or None
        As typed.

    Raises
    ------
    UsageError
        For each of these.
    """
    if what is Content.EIGENVALUES:
        if not target.is_file:
            raise UsageError(f"--what eigenvalues: {target} takes measures alone", fix="-o FILE.csv")
        if measures or other_order:
            raise UsageError("--measure and --alpha say nothing about eigenvalues", fix="leave them out")
    if project is not None and target not in (Target.MLFLOW, Target.WANDB):
        raise UsageError(f"--project says nothing about {target}", fix="--to mlflow or --to wandb")
    if target is Target.PARQUET:
        from hessent.report.exports.parquet_file import require_pyarrow

        require_pyarrow()
    elif target is Target.TENSORBOARD:
        from hessent.report.exports.tensorboard_folder import require_tensorboard

        require_tensorboard()
    elif target is Target.MLFLOW:
        from hessent.report.exports.mlflow_store import require_mlflow

        require_mlflow()
    elif target is Target.WANDB:
        from hessent.report.exports.wandb_folder import require_wandb

        require_wandb()


def file_content(sources: Sequence[Source], selection: Selection, target: Target, what: Content) -> bytes:
    """Return the whole content of a file.

    Parameters
    ----------
    sources : sequence of Source
        What was measured.
    selection : Selection
        Which blocks and measures, at which Rényi order.
    target : Target
        One that is a file.
    what : Content
        Measures or eigenvalues.

    Raises
    ------
    UsageError
        If a glob matches no block, or there is no eigenvalue.
    """
    from hessent.report.document import to_json
    from hessent.report.exports.text_files import csv_text, json_text

    if target is Target.JSON and what is Content.MEASURES:
        from hessent.report.summary_document import summary_document

        return to_json(summary_document([source.entry for source in sources], selection)).encode()
    table = _table(sources, selection, what)
    if target is Target.JSON:
        return json_text(table).encode()
    if target is Target.CSV:
        return csv_text(table).encode()
    from hessent.report.exports.parquet_file import parquet_bytes

    return parquet_bytes(table)


def track(
    sources: Sequence[Source], selection: Selection, target: Target, out: str, project: str | None
) -> list[str]:
    """Write runs into a tracker.

    Parameters
    ----------
    sources : sequence of Source
        What was measured.
    selection : Selection
        Which blocks and measures, at which Rényi order.
    target : Target
        One that is no file.
    out : str
        Folder, or address of the tracker, as typed.
    project : str or None
        Experiment or project.

    Returns
    -------
    list of str
        What was done, in sentences.

    Raises
    ------
    UsageError
        If the files are not the steps of a run each, or the tracker cannot be reached.
    StorageError
        If it cannot be written.
    """
    from hessent.report.exports.tracked_runs import tracked_runs

    runs = tracked_runs(sources, selection)
    if target is Target.TENSORBOARD:
        from hessent.report.exports.tensorboard_folder import write_tensorboard

        return write_tensorboard(runs, out)
    if target is Target.MLFLOW:
        from hessent.report.exports.mlflow_store import write_mlflow

        return write_mlflow(runs, out, project)
    from hessent.report.exports.wandb_folder import write_wandb

    return write_wandb(runs, out, project)


def _table(sources: Sequence[Source], selection: Selection, what: Content) -> TidyTable:
    if what is Content.EIGENVALUES:
        from hessent.report.exports.eigenvalue_rows import eigenvalue_table

        return eigenvalue_table(sources, selection.blocks)
    from hessent.report.exports.tidy_rows import measure_table

    return measure_table(sources, selection)
