"""`hessent inspect`, `archs` and `data`: what there is, in four formats."""

import csv
import io
import json

import jsonschema
import pytest
import torch

from hessent.__main__ import main
from hessent.arch.registry import architectures, build
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.writer import save_checkpoint
from hessent.data.registry import sources
from hessent.report.schema import load_schema


def printed(capfd, *words):
    assert main(list(words)) == 0
    return capfd.readouterr().out


def document(capfd, *words):
    found = json.loads(printed(capfd, *words, "--json"))
    jsonschema.validate(found, load_schema(found["schema"]))
    return found


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"width": "8", "classes": "10", "channels": "1", "stem": "cifar"}
    tensors = build("resnet18", options=options, where="test").model.state_dict()
    metadata = CheckpointMetadata(
        arch="resnet18",
        data="digits",
        step=3,
        total_steps=4,
        optimizer={"name": "adam", "lr": 0.001},
        metrics={"test_accuracy": 0.97},
    )
    state = {"fc.weight": {"exp_avg": torch.zeros_like(tensors["fc.weight"])}}
    save_checkpoint("step.safetensors", tensors, metadata, state)
    return "step.safetensors"


def test_inspect_tells_tensors_training_and_what_fits(checkpoint, capfd):
    text = printed(capfd, "inspect", checkpoint)
    assert "step.safetensors · safetensors" in text
    assert "training    step 3 of 4 · test_accuracy 0.97" in text
    assert "optimizer   adam · lr=0.001 · state in step.optim.safetensors" in text
    assert "fits        resnet18 · " in text
    assert "depths=2-2-2-2" in text
    assert "layer1.0.conv1.weight" in text
    assert "8 × 8 × 3 × 3" in text


def test_inspect_as_json_follows_its_schema(checkpoint, capfd):
    found = document(capfd, "inspect", checkpoint)
    assert found["format"] == "safetensors"
    assert found["progress"] == 0.75
    assert found["optimizer"] == {"name": "adam", "lr": 0.001, "state_file": "step.optim.safetensors"}
    assert found["architectures"][0]["name"] == "resnet18"
    assert found["architectures"][0]["fits"] is True
    assert found["num_params"] == sum(
        torch.Size(tensor["shape"]).numel() for tensor in found["tensors"] if tensor["dtype"] == "F32"
    )


def test_inspect_of_foreign_tensors_names_the_nearest_architecture(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    save_checkpoint("odd.safetensors", {"fc.\x1b[31mweight": torch.zeros(2, 3)}, CheckpointMetadata())
    text = printed(capfd, "inspect", "odd.safetensors")
    assert "no built-in architecture" in text
    assert "\x1b" not in text
    found = document(capfd, "inspect", "odd.safetensors")
    assert not any(fit["fits"] for fit in found["architectures"])
    assert found["optimizer"] is None


def test_archs_lists_every_entry_and_the_options_of_one(capfd):
    text = printed(capfd, "archs")
    assert all(entry.name in text for entry in architectures())
    one = printed(capfd, "archs", "resnet18")
    assert all(option in one for option in ("stem", "norm_eps", "--arch-option"))
    names = [entry["name"] for entry in document(capfd, "archs")["architectures"]]
    assert names == [entry.name for entry in architectures()]
    assert len(document(capfd, "archs", "vit")["architectures"]) == 1


def test_data_lists_every_source_and_the_parameters_of_one(capfd):
    text = printed(capfd, "data")
    assert all(source.form in text for source in sources())
    assert "mean" in printed(capfd, "data", "cifar10")
    assert [entry["name"] for entry in document(capfd, "data")["sources"]] == [source.name for source in sources()]


@pytest.mark.parametrize("words", [["archs"], ["archs", "gpt"], ["data"], ["data", "tokens"]])
def test_registries_come_as_csv_and_markdown(capfd, words):
    rows = list(csv.reader(io.StringIO(printed(capfd, *words, "--format", "csv"))))
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1
    lines = printed(capfd, *words, "--format", "markdown").splitlines()
    assert sum(line.startswith("|") for line in lines) == len(rows) + 1
