"""Runs of a tiny network with checkpoints at 0 and 100 %, measured in a moment."""

import torch

from hessent.arch.registry import build
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.writer import save_checkpoint

STEPS = (0, 40)
QUICK = ("--samples", "32", "--max-matvecs", "12")


def save_run(folder, seed=0, steps=STEPS, optimizer=None):
    """Write a run of checkpoints with random weights."""
    folder.mkdir(exist_ok=True)
    for step in steps:
        save_step(folder, step, seed, optimizer)
    return folder


def save_step(folder, step, seed=0, optimizer=None):
    """Write one checkpoint; another seed is another content of the same size."""
    torch.manual_seed(1000 * seed + step)
    built = build("mlp", options={"sizes": "64-3-10", "activation": "tanh"}, where="test")
    metadata = CheckpointMetadata(
        arch="mlp",
        arch_options=built.options,
        data="digits",
        loss="cross-entropy",
        step=step,
        total_steps=STEPS[-1],
        optimizer=optimizer or {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    )
    save_checkpoint(str(folder / f"step-{step:06d}.safetensors"), dict(built.model.state_dict()), metadata)
