"""The same weights under the names of torchvision, timm and the common CIFAR variant are the same network."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from hessent.__main__ import main
from hessent.arch.registry import build

# What distinguishes the CIFAR variant's names from torchvision's, which timm shares.
CIFAR_NAMES = (("downsample.", "shortcut."), ("fc.", "linear."))


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    options = {"width": 2, "classes": 10, "channels": 1, "stem": "cifar"}
    model = build("resnet18", options=options, where="test").model
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def torchvision_names(name: str) -> str:
    return name


def timm_names_in_a_wrapper(name: str) -> str:
    return f"module._orig_mod.{name}"


def cifar_names(name: str) -> str:
    for theirs, variant in CIFAR_NAMES:
        name = name.replace(theirs, variant)
    return name


@pytest.fixture
def measured(tmp_path, capsys):
    def measure(naming) -> list:
        path = tmp_path / f"{naming.__name__}.safetensors"
        save_file({naming(name): tensor for name, tensor in weights().items()}, path)
        words = ["--arch", "resnet18", "--data", "digits", "--samples", "12", "--no-full", "--json"]
        blocks = ["--blocks", "layer4.0*=stage", "--blocks", "fc*=head", "--max-matvecs", "60"]
        assert main(["spectrum", str(path), *words, *blocks]) == 0
        return json.loads(capsys.readouterr().out)["spectra"][0]["blocks"]

    return measure


@pytest.mark.parametrize("naming", [timm_names_in_a_wrapper, cifar_names])
def test_names_do_not_change_a_spectrum(measured, naming):
    assert measured(naming) == measured(torchvision_names)


def test_names_of_a_file_are_really_different():
    own = set(weights())
    assert {cifar_names(name) for name in own} - own
    assert "layer2.0.shortcut.0.weight" in {cifar_names(name) for name in own}
