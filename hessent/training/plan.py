"""What a run is asked to do, and the numbers that follow from it once the data is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from hessent.errors import UsageError, suggest
from hessent.measures.learning_rate import learning_rate
from hessent.training.optimizer import resolve_settings
from hessent.training.schedule import SCHEDULES

DEFAULT_EPOCHS = 30
DEFAULT_PERCENTS = (0.0, 1.0, 25.0, 50.0, 75.0, 100.0)
DTYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class TrainingRequest:
    """A run as it is asked for; nothing is checked yet.

    Attributes
    ----------
    arch, data, out, optimizer : str
        As typed.
    arch_options : mapping
        Option of the architecture to its text.
    optimizer_settings : mapping
        Setting to value; None or absent takes the optimizer's default.
    batch_size : int or None
        Samples of one update; None takes all of them ("full").
    epochs, steps : int or None
        Length of the run, in passes over the data or in updates: at most one of them.
    schedule : str
        Of the learning rate, after `warmup_steps` updates of linear rise.
    loss : str or None
        None takes the architecture's own.
    samples : int or None
        Training samples used: those that an analysis takes by default of as many; None takes all.
    percents : tuple of float
        Where checkpoints are saved, 0 … 100 % of the updates; the end is always saved.
    spectrum_samples : int or None
        Written into the checkpoints: how many samples an analysis takes by default; None writes `samples`.
    threads : int or None
        CPU threads; None leaves torch's choice.
    force : bool
        Discard the checkpoints in `out` and begin anew.
    """

    arch: str
    data: str
    out: str
    optimizer: str
    arch_options: Mapping[str, str] = field(default_factory=dict)
    optimizer_settings: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = 64
    epochs: int | None = None
    steps: int | None = None
    schedule: str = "cosine"
    warmup_steps: int = 0
    loss: str | None = None
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: str = "float32"
    samples: int | None = None
    percents: tuple[float, ...] = DEFAULT_PERCENTS
    spectrum_samples: int | None = None
    threads: int | None = None
    force: bool = False


@dataclass(frozen=True)
class TrainingPlan:
    """The numbers of a run.

    Attributes
    ----------
    optimizer : str
    settings : mapping
        Of the optimizer, complete.
    batch_size, total_steps, warmup_steps : int
    schedule : str
    milestones : tuple of int
        Updates after which a checkpoint is saved, ascending; 0 is the untrained network.
    """

    optimizer: str
    settings: Mapping[str, Any]
    batch_size: int
    total_steps: int
    schedule: str
    warmup_steps: int
    milestones: tuple[int, ...]

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` updates."""
        return learning_rate(
            step,
            peak=self.settings["lr"],
            schedule=self.schedule,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
        )

    @property
    def description(self) -> dict[str, Any]:
        """The optimizer as it stands in a checkpoint's metadata: its name and everything that steers it."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in self.settings.items()}
        return {
            "name": self.optimizer,
            **plain,
            "batch_size": self.batch_size,
            "schedule": self.schedule,
            "warmup_steps": self.warmup_steps,
        }


def make_plan(request: TrainingRequest, num_samples: int) -> TrainingPlan:
    """Work out the numbers of a run on `num_samples` training samples.

    Raises
    ------
    UsageError
        If a number makes no sense; the option is named.
    """
    if request.epochs is not None and request.steps is not None:
        raise UsageError("--epochs and --steps both say how long to train", fix="give only one of them")
    if request.schedule not in SCHEDULES:
        hint = suggest(request.schedule, SCHEDULES)
        raise UsageError(
            f"no schedule '{request.schedule}'", where="--schedule", expected=" or ".join(SCHEDULES), fix=hint
        )
    batch_size = num_samples if request.batch_size is None else request.batch_size
    if not 1 <= batch_size <= num_samples:
        raise UsageError(
            f"--batch-size is {batch_size}, the data has {num_samples} training samples",
            expected=f"1 to {num_samples}, or full",
        )
    epochs = DEFAULT_EPOCHS if request.epochs is None else request.epochs
    total_steps = math.ceil(epochs * num_samples / batch_size) if request.steps is None else request.steps
    if total_steps < 1:
        raise UsageError("the run has no step", expected="--steps or --epochs of at least 1")
    if not 0 <= request.warmup_steps < total_steps:
        raise UsageError(
            f"--warmup-steps is {request.warmup_steps}, the run has {total_steps} steps",
            expected=f"0 to {total_steps - 1}",
        )
    return TrainingPlan(
        optimizer=request.optimizer,
        settings=resolve_settings(request.optimizer, request.optimizer_settings),
        batch_size=batch_size,
        total_steps=total_steps,
        schedule=request.schedule,
        warmup_steps=request.warmup_steps,
        milestones=milestones(total_steps, request.percents),
    )


def milestones(total_steps: int, percents: tuple[float, ...]) -> tuple[int, ...]:
    """Return the updates after which checkpoints are saved: percents of the run, rounded, and always its end.

    A percentage above zero is at least one update, so that "1 %" of a short run is not the untrained network.

    Raises
    ------
    UsageError
        If a percentage lies outside 0 … 100.
    """
    wrong = [f"{percent:g}" for percent in percents if not 0 <= percent <= 100]
    if wrong:
        raise UsageError(f"--checkpoints names {', '.join(wrong)}", expected="percentages from 0 to 100")
    steps = {max(math.floor(total_steps * percent / 100 + 0.5), int(percent > 0)) for percent in percents}
    return tuple(sorted(steps | {total_steps}))


def resolve_loss_name(loss: str | None, label_smoothing: float | None) -> str | None:
    """Join `--loss` and its companion `--label-smoothing` into one name of a loss.

    Raises
    ------
    UsageError
        If label smoothing is asked of a loss that already has settings, or has no classes.
    """
    if label_smoothing is None:
        return loss
    if loss not in (None, "cross-entropy"):
        raise UsageError(
            f"--label-smoothing does not go with --loss {loss}",
            fix=f"--loss 'cross-entropy?label_smoothing={label_smoothing:g}', without --label-smoothing",
        )
    return f"cross-entropy?label_smoothing={label_smoothing:g}"
