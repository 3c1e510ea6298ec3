"""What a run writes about itself into each of its checkpoints, and by which it knows them again.

A checkpoint's own metadata may name built-in things and data below its own folder, nothing else: following any
other name would run code that a downloaded file chose.  So an architecture, a loss or data of another kind is
recorded under `train.…`, which nobody follows, and the user names it again when the checkpoint is analysed.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

import torch

from hessent.arch.registry import is_built_in
from hessent.checkpoint.metadata import CheckpointMetadata, to_text
from hessent.checkpoint.trust import PATH_SOURCES, data_problem, loss_problem
from hessent.data.registry import parse_name
from hessent.training.plan import TrainingPlan, TrainingRequest
from hessent.training.preparation import Preparation

# Recorded, but no part of what a run is: with another torch or thread count it is the same run, rounded otherwise.
_CIRCUMSTANCES = ("train.torch", "train.threads")


def describe_run(request: TrainingRequest, plan: TrainingPlan, preparation: Preparation) -> CheckpointMetadata:
    """Return the metadata that all checkpoints of a run share: everything but step and metrics."""
    built, loss = preparation.built, preparation.loss.name
    data = nameable_data(request.data, request.out)
    extra = {
        "train.checkpoints": ",".join(str(step) for step in plan.milestones),
        "train.data_sha256": preparation.train.digest(),
        "train.device": request.device.type,
        "train.dtype": request.dtype,
        "train.torch": torch.__version__,
    }
    if request.threads is not None:
        extra["train.threads"] = str(request.threads)
    if request.samples is not None:
        extra["train.samples"] = str(request.samples)
    if data is None:
        extra["train.data"] = request.data
    if loss_problem(loss) is not None:
        extra["train.loss"] = loss
    if not is_built_in(built.name):
        extra["train.arch"] = json.dumps([built.name, dict(built.options)], sort_keys=True, default=str)
    return CheckpointMetadata(
        arch=built.name if is_built_in(built.name) else None,
        arch_options=dict(built.options) if is_built_in(built.name) else {},
        data=data,
        loss=None if "train.loss" in extra else loss,
        samples=request.samples if request.spectrum_samples is None else request.spectrum_samples,
        total_steps=plan.total_steps,
        optimizer=plan.description,
        seed=request.seed,
        extra=extra,
    )


def unnamed_options(metadata: CheckpointMetadata) -> tuple[str, ...]:
    """Return the options that an analysis needs because the checkpoints may not name what the run used."""
    named = {"--arch": metadata.arch, "--data": metadata.data, "--loss": metadata.loss}
    return tuple(option for option, name in named.items() if name is None)


def nameable_data(name: str, folder: str) -> str | None:
    """Return the data's name as a checkpoint in `folder` may carry it, None where it may not.

    The path in it is relative to the folder.
    """
    parsed = parse_name(name)
    if parsed.source in PATH_SOURCES:
        inside = os.path.relpath(os.path.realpath(parsed.path), os.path.realpath(folder))
        name = f"{parsed.source}:{inside}" + (f"?{parsed.query}" if parsed.query else "")
    return name if data_problem(name) is None else None


def differences(found: CheckpointMetadata, expected: CheckpointMetadata) -> list[str]:
    """Return how a checkpoint's metadata differs from what this run writes, one sentence each; none for its own."""
    there, here = _identity(found), _identity(expected)
    return [
        f"{key}: {there.get(key, 'nothing')} there, {here.get(key, 'nothing')} now"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]


def _identity(metadata: CheckpointMetadata) -> dict[str, str]:
    """Return everything that makes two checkpoints ones of the same run, setting by setting."""
    text = to_text(replace(metadata, step=None, metrics={}))
    flat: dict[str, str] = {}
    for key, value in text.items():
        if key in ("hessent.optimizer", "hessent.arch_options"):
            word = "optimizer" if key == "hessent.optimizer" else "option"
            flat |= {f"{word} {name}": json.dumps(setting) for name, setting in json.loads(value).items()}
        elif key not in _CIRCUMSTANCES:
            flat[key.removeprefix("hessent.")] = value
    return flat
