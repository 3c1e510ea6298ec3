"""Does the bound hold: forty trainings on random halves of the digits, the other half for the test."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from hessent.arch.registry import build
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.writer import save_checkpoint
from hessent.data.registry import open_dataset
from hessent.pipeline.bound.run import run_bound
from hessent.pipeline.observer import Silent
from hessent.pipeline.request import SpectrumRequest

TRAIN = 900


def bound_of(seed, folder):
    """Train a small net on a random half, and bound it."""
    torch.manual_seed(seed)
    inputs, targets = open_dataset("digits", split="all").fetch(torch.arange(1797))
    order = torch.randperm(1797)
    first, rest = order[:TRAIN], order[TRAIN:]
    data = folder / f"half-{seed}.safetensors"
    halves = {"x": inputs[first], "y": targets[first], "x_test": inputs[rest], "y_test": targets[rest]}
    save_file(halves, data)
    built = build("mlp", options={"sizes": "64-8-10", "activation": "tanh"}, where="test")
    optimizer = torch.optim.SGD(built.model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        for batch in torch.randperm(TRAIN).split(60):
            optimizer.zero_grad()
            functional.cross_entropy(built.model(halves["x"][batch]), halves["y"][batch]).backward()
            optimizer.step()
    path = folder / f"net-{seed}.safetensors"
    metadata = CheckpointMetadata(arch="mlp", arch_options=built.options, loss="cross-entropy")
    save_checkpoint(str(path), dict(built.model.state_dict()), metadata)
    request = SpectrumRequest(checkpoint=str(path), data=f"arrays:{data}", engine="batched", seed=seed)
    return run_bound(request, Silent(), draws=40)


@pytest.mark.slow
def test_the_bound_holds_in_at_least_95_percent_of_40_trainings_and_says_something(tmp_path):
    found = [bound_of(seed, tmp_path) for seed in range(40)]
    held = [own.gibbs_test_01.value <= own.bound_01.value for own in found]
    assert sum(held) >= 38
    assert sum(own.bound_01.value < 1.0 for own in found) >= 30


def test_the_bound_of_one_training_holds_and_is_not_vacuous(tmp_path):
    found = bound_of(0, tmp_path)
    assert found.samples == TRAIN
    assert found.gibbs_test_01.value < found.bound_01.value < 1.0
