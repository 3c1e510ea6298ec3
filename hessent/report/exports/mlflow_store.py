"""Runs for MLflow: one MLflow run per run, metrics over the training steps, parameters on what was measured how.

OUT is the address of a tracking store (``http://…``, ``sqlite:///…``), or a folder, in which ``mlflow.db`` is kept.

Each of our runs carries two tags: ``hessent.identity`` (name and first checkpoint) and ``hessent.content`` (every
number).  An export that is there already is left as it is.  Where the numbers changed, because further checkpoints
were measured or other measures asked for, a new run is written whole, and then the earlier one is deleted, as
MLflow does it: it can be restored.  A run without ``hessent.content`` was left behind by an interrupted export.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from hessent.errors import HessentError, StorageError, UsageError
from hessent.report.exports.optional_package import load_package
from hessent.report.exports.tracked_runs import TrackedRun, make_folder
from hessent.storage.failures import storage_failure

DATABASE = "mlflow.db"
PROJECT = "hessent"
_IDENTITY, _CONTENT = "hessent.identity", "hessent.content"
_AT_ONCE = 1000  # metrics in one request: what MLflow's servers take
_LONGEST_KEY, _LONGEST_VALUE = 250, 500  # letters of a metric's name, and of a parameter, that every version takes
_REFUSED = re.compile(r"[^\w.\- /]", re.ASCII)
_QUIET = ("alembic", "mlflow")
_SECRET = re.compile(r"//[^/\s]*@")  # name and password in an address


def require_mlflow() -> None:
    """Load MLflow, without its own reports on how it is used.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own default takes minutes to give up
    _load("mlflow")


def write_mlflow(runs: Sequence[TrackedRun], out: str, project: str | None) -> list[str]:
    """Write runs into an MLflow store.

    Parameters
    ----------
    runs : sequence of TrackedRun
        Of different names.
    out : str
        Folder or address, as typed.
    project : str or None
        The experiment's name.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    StorageError
        If the store cannot be written or reached.
    """
    address = _address(out)
    with _errors_of(out):
        client = _load("mlflow.tracking").MlflowClient(tracking_uri=address)
        experiment = _experiment(client, project or PROJECT, out)
        sentences = [_write_run(client, experiment, run) for run in runs]
    if "://" in out:
        return sentences
    return [*sentences, f"to look at it: mlflow ui --backend-store-uri {address}"]


def metric_key(series: str) -> str:
    """Return a name that MLflow takes; one that had to be changed ends in a digest, so that no two become one.

    Parameters
    ----------
    series : str
        Name of a series.
    """
    key = _REFUSED.sub("_", series)
    parts = [part if part.strip(".") else part.replace(".", "_") or "_" for part in key.split("/")]
    key = "/".join(parts)
    if key == series and len(key) <= _LONGEST_KEY:
        return key
    digest = sha256(series.encode()).hexdigest()[:8]
    return f"{key[: _LONGEST_KEY - len(digest) - 1]}.{digest}"


def _write_run(client: Any, experiment: str, run: TrackedRun) -> str:
    identity = sha256(f"{run.name}\n{run.points[0].sha256}".encode()).hexdigest()
    earlier = client.search_runs([experiment], filter_string=f"tags.`{_IDENTITY}` = '{identity}'")
    for found in earlier:
        if found.data.tags.get(_CONTENT) == run.digest:
            return f"{run.name}: there already, as run {found.info.run_id}"
    written = client.create_run(
        experiment,
        start_time=1000 * min(point.seconds for point in run.points),
        tags={_IDENTITY: identity, "mlflow.source.name": "hessent export"},
        run_name=run.name,
    ).info.run_id
    _log(client, written, run)
    client.set_tag(written, _CONTENT, run.digest)
    client.set_terminated(written, end_time=1000 * max(point.seconds for point in run.points))
    for found in earlier:
        client.delete_run(found.info.run_id)
    replaced = f", in place of {len(earlier)} earlier" if earlier else ""
    return f"{run.name}: written as run {written}{replaced}"


def _log(client: Any, written: str, run: TrackedRun) -> None:
    entities = _load("mlflow.entities")
    parameters = [entities.Param(name, value[:_LONGEST_VALUE]) for name, value in run.facts.items()]
    client.log_batch(written, params=parameters)
    keys = {name: metric_key(name) for name in run.series}
    metrics = [
        entities.Metric(keys[name], value, 1000 * point.seconds, point.step)
        for point in run.points
        for name, value in point.values.items()
    ]
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(written, metrics=metrics[start : start + _AT_ONCE])


def _experiment(client: Any, name: str, out: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    if "://" in out:
        return str(client.create_experiment(name))
    return str(client.create_experiment(name, artifact_location=(Path(out).resolve() / "artifacts").as_uri()))


def _address(out: str) -> str:
    """Return the address of the store; its folder is made where it is missing."""
    if "://" in out:
        return out
    make_folder(out)
    return "sqlite:///" + os.path.join(os.path.abspath(out), DATABASE)


@contextmanager
def _errors_of(out: str) -> Iterator[None]:
    """Turn what MLflow raises into errors of ours, and keep what it reports of its own work to itself."""
    levels = {name: logging.getLogger(name).level for name in _QUIET}
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    except Exception as error:
        known = _known(error, _SECRET.sub("//", out))
        if known is None:
            raise
        raise known from error
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _known(error: Exception, where: str) -> HessentError | None:
    """Return the error of ours that says what a store or its database driver found; None for any other error."""
    if isinstance(error, ImportError):
        return UsageError(f"MLflow lacks the driver of this database: {error}", where=where)
    if isinstance(error, OSError):
        return storage_failure(where, error)
    if type(error).__module__.partition(".")[0] in ("mlflow", "sqlalchemy"):
        return StorageError(f"MLflow: {_SECRET.sub('//', str(error)).strip()}", where=where)
    return None


def _load(module: str) -> Any:
    return load_package(module, "mlflow", "MLflow stores are")
