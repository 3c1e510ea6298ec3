"""A small trained checkpoint on the real digits, made once per test session: seconds, not minutes."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch.nn import functional

from hessent.arch.registry import build
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.writer import save_checkpoint
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream


@functools.cache
def trained_mlp() -> Path:
    """An MLP 64-12-10 after two passes over the digits; its metadata names everything the command needs."""
    torch.manual_seed(0)
    built = build("mlp", options={"sizes": "64-12-10", "activation": "tanh"}, where="test")
    optimizer = torch.optim.SGD(built.model.parameters(), lr=0.1, momentum=0.9)
    stream = BatchStream(open_dataset("digits"), batch_size=64)
    for _ in range(2):
        for inputs, targets in stream:
            optimizer.zero_grad()
            functional.cross_entropy(built.model(inputs), targets).backward()
            optimizer.step()
    path = Path(tempfile.mkdtemp(prefix="hessent-test-")) / "step-000046.safetensors"
    metadata = CheckpointMetadata(
        arch="mlp",
        arch_options=built.options,
        data="digits",
        loss="cross-entropy",
        samples=96,
        step=46,
        total_steps=46,
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9},
    )
    save_checkpoint(str(path), dict(built.model.state_dict()), metadata)
    return path
