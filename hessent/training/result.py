"""What a run gave: its checkpoints with their scores, as a table for people and a document for programs.

Columns of the table
--------------------
checkpoint
    The file.
step, %
    Updates done, and their share of the whole run.
train loss, test loss
    Mean over the whole split, in eval mode; cross-entropy in nats.
train acc., test acc.
    Share of samples (or tokens) classified rightly, 0 … 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hessent.report.tables import Column, Table

SCHEMA = "hessent.train/1"
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class SavedCheckpoint:
    """One checkpoint of a run.

    Attributes
    ----------
    file : str
        Below the run's folder as typed.
    optimizer_state : str or None
        Its sibling; None where the optimizer had no state yet.
    step : int
    progress : float
        Share of the run, 0 … 1.
    metrics : mapping of str to float
        Of `METRICS`, those that are known.
    """

    file: str
    optimizer_state: str | None
    step: int
    progress: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes
    ----------
    run : str
        Its folder, as typed.
    arch, data, loss : str
    arch_options : mapping
    num_params, train_samples : int
    test_samples : int or None
        None where the data has no test split.
    synthetic : bool
        Whether the data is made up.
    optimizer : mapping
        Name and settings.
    seed, total_steps : int
    device, dtype : str
    resumed_from : int or None
        The step at which this call took the run up; `total_steps` where there was nothing left to do.
    checkpoints : tuple of SavedCheckpoint
        Ascending.
    """

    run: str
    arch: str
    arch_options: Mapping[str, Any]
    num_params: int
    data: str
    train_samples: int
    test_samples: int | None
    synthetic: bool
    loss: str
    optimizer: Mapping[str, Any]
    seed: int
    total_steps: int
    device: str
    dtype: str
    resumed_from: int | None
    checkpoints: tuple[SavedCheckpoint, ...]


def training_document(result: TrainingResult) -> dict[str, Any]:
    """Return the JSON document of a run, schema `hessent.train/1`; an unknown metric is null."""
    return {
        "schema": SCHEMA,
        "run": result.run,
        "arch": {"name": result.arch, "options": dict(result.arch_options), "num_params": result.num_params},
        "data": {
            "name": result.data,
            "train_samples": result.train_samples,
            "test_samples": result.test_samples,
            "synthetic": result.synthetic,
        },
        "loss": result.loss,
        "optimizer": dict(result.optimizer),
        "seed": result.seed,
        "total_steps": result.total_steps,
        "device": result.device,
        "dtype": result.dtype,
        "resumed_from": result.resumed_from,
        "checkpoints": [
            {
                "file": saved.file,
                "optimizer_state": saved.optimizer_state,
                "step": saved.step,
                "progress": saved.progress,
                "metrics": {name: saved.metrics.get(name) for name in METRICS},
            }
            for saved in result.checkpoints
        ],
    }


def training_table(result: TrainingResult) -> Table:
    """Return the table of a run's checkpoints; see the module's docstring for its columns."""
    return Table(
        columns=(
            Column("file", "checkpoint", "name"),
            Column("step", "step", "count"),
            Column("progress", "progress", "number", audience="programs"),
            Column("train_loss", "train loss", "number"),
            Column("train_accuracy", "train acc.", "number"),
            Column("test_loss", "test loss", "number"),
            Column("test_accuracy", "test acc.", "number"),
            Column("optimizer_state", "optimizer state", "name", audience="programs"),
        ),
        rows=tuple(
            (
                saved.file,
                saved.step,
                saved.progress,
                *(saved.metrics.get(name) for name in METRICS),
                saved.optimizer_state,
            )
            for saved in result.checkpoints
        ),
        facts=_facts(result),
        notes=("Losses and accuracies are exact means over the whole split, in eval mode.",),
    )


def _facts(result: TrainingResult) -> tuple[tuple[str, str], ...]:
    samples = f"{result.train_samples:,} training"
    if result.test_samples is not None:
        samples += f" and {result.test_samples:,} test"
    data = f"{result.data} · {samples} samples"
    if result.synthetic:
        data += " · SYNTHETIC: made-up data, so these numbers say nothing about a real task"
    settings = [f"{key} {_shown(value)}" for key, value in result.optimizer.items() if key != "name"]
    return (
        ("run", result.run),
        ("model", f"{result.arch} · {result.num_params:,} parameters"),
        ("data", data),
        ("loss", result.loss),
        ("optimizer", " · ".join([str(result.optimizer["name"]), *settings])),
        ("length", f"{result.total_steps:,} steps · seed {result.seed} · {result.dtype} on {result.device}"),
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, dict):
        return _shown(next(iter(value.values()))) if len(value) == 1 else f"of {len(value)} names"
    return f"{value:g}" if isinstance(value, float) else str(value)
