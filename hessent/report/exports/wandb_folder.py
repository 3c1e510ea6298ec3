"""Runs for Weights & Biases: offline runs in OUT/wandb, which `wandb sync` sends when the user asks for it.

Nothing is sent here.  A run holds the series and what was measured how; W&B's package adds the time of the export,
its own version, Python's and the platform's name.  Machine, user, working folder and version control are kept out.

The id of a run follows from its numbers.  A run of that id that is there already is left alone, and a run that was
sent twice is one run; one with other numbers is another run of the same name.  A run is there whole or not at all.
"""

from __future__ import annotations

import glob
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hessent.errors import StorageError
from hessent.report.exports.optional_package import load_package
from hessent.report.exports.tracked_runs import TrackedRun, make_folder
from hessent.storage.failures import storage_failure

PROJECT = "hessent"
_ID_LETTERS = 16
_HOST = "hessent"  # stands where the name of the machine would


def require_wandb() -> None:
    """Load the package of Weights & Biases, without its reports of its own errors.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    _load()


def write_wandb(runs: Sequence[TrackedRun], folder: str, project: str | None) -> list[str]:
    """Write runs as offline runs.

    Parameters
    ----------
    runs : sequence of TrackedRun
        Of different names.
    folder : str
        The folder that holds, or will hold, the folder ``wandb``.
    project : str or None
        Name of the project.

    Returns
    -------
    list of str
        What was written, and how it is sent.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    make_folder(folder)
    sentences, places = [], []
    for run in runs:
        run_id = run.digest[:_ID_LETTERS]
        there = _places(folder, run_id)
        if not there:
            _write_run(run, run_id, folder, project or PROJECT)
        place = (there or _places(folder, run_id))[0]
        places.append(shlex.quote(place))
        sentences.append(f"{place}: {'there already' if there else 'written'}")
    return [*sentences, f"to send what is there: wandb sync {' '.join(places)}"]


def _places(folder: str, run_id: str) -> list[str]:
    """Where the offline run of an id lies."""
    return sorted(glob.glob(os.path.join(glob.escape(folder), "wandb", f"offline-run-*-{run_id}")))


def _write_run(run: TrackedRun, run_id: str, folder: str, project: str) -> None:
    """Write a run beside its place and put it there when it is whole."""
    wandb = _load()
    with _errors_of(wandb, folder), tempfile.TemporaryDirectory(prefix=".hessent-", dir=folder) as beside:
        own = wandb.init(
            mode="offline",
            dir=beside,
            project=project,
            name=run.name,
            id=run_id,
            job_type="hessent export",
            config=dict(run.facts),
            settings=_settings(wandb),
        )
        for point in run.points:
            own.log(dict(point.values), step=point.step)
        own.finish()
        os.makedirs(os.path.join(folder, "wandb"), exist_ok=True)
        written = next(iter(_places(beside, run_id)), None)
        if written is None:
            raise StorageError("W&B's package wrote no run", where=folder, fix="unset what begins with WANDB_")
        os.rename(written, os.path.join(folder, "wandb", os.path.basename(written)))


def _settings(wandb: Any) -> Any:
    """Settings that keep machine, user, working folder and version control out of a run, and the terminal quiet."""
    return wandb.Settings(
        silent=True,
        host=_HOST,
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


@contextmanager
def _errors_of(wandb: Any, folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_failure(folder, error) from error
    except wandb.errors.Error as error:
        raise StorageError(f"W&B's package could not write: {error}", where=folder) from error


def _load() -> Any:
    return load_package("wandb", "wandb", "runs for Weights & Biases are")
