"""Adam's state as trainers save it: every parameter gets its own numbers, or the file is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hessent.checkpoint.adam_files import read_states
from hessent.checkpoint.matching import load_into
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.optimizer_names import states_by_name
from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.writer import save_checkpoint
from hessent.errors import CheckpointError

ADAM = {"name": "adam", "betas": [0.9, 0.999], "epsilon": 1e-8}


class Network(nn.Module):
    """Two matrices and two biases of one shape each, and a norm between: an order by shapes alone is ambiguous."""

    def __init__(self):
        super().__init__()
        self.second_in_name = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.first_in_name = nn.Linear(4, 4)

    def forward(self, x):
        return self.first_in_name(self.norm(self.second_in_name(x)))


def groups_of(model, how):
    named = dict(model.named_parameters())
    if how == "one":
        return [{"params": list(named.values())}]
    plain = [n for n in named if n.endswith("bias") or (how == "hf" and n.startswith("norm"))]
    return [
        {"params": [p for n, p in named.items() if n not in plain], "weight_decay": 0.1},
        {"params": [named[n] for n in plain], "weight_decay": 0.0},
    ]


def trained(how="one"):
    torch.manual_seed(0)
    model = Network()
    optimizer = torch.optim.AdamW(groups_of(model, how), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def read(path):
    checkpoint, model = open_checkpoint(str(path)), Network()
    report = load_into(model, checkpoint.load().tensors, where=str(path))
    return read_states(checkpoint, model, report.sources)


def expect(found, model, optimizer):
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        assert torch.equal(found[name].tensors["exp_avg_sq"], state["exp_avg_sq"].double()), name
        assert float(found[name].tensors["step"]) == 3
        assert tuple(found[name].settings["betas"]) == (0.9, 0.999)
        assert found[name].settings["eps"] == 1e-8


def test_by_name_beside_the_weights(tmp_path):
    model, optimizer = trained()
    path = tmp_path / "step-000003.safetensors"
    states = states_by_name(model.named_parameters(), optimizer)
    save_checkpoint(str(path), model.state_dict(), CheckpointMetadata(step=3, optimizer=ADAM), states)
    file, found = read(path)
    assert file == str(tmp_path / "step-000003.optim.safetensors")
    expect(found, model, optimizer)


@pytest.mark.parametrize("how", ["one", "hf", "biases"])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_beside_the_weights_as_hugging_faces_trainer_saves_it(tmp_path, how, named):
    model, optimizer = trained(how)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    file, found = read(tmp_path if named == "folder" else tmp_path / "model.safetensors")
    assert file == str(tmp_path / "optimizer.pt")
    expect(found, model, optimizer)
    if how == "hf":
        assert [found[name].settings["weight_decay"] for name in ("norm.weight", "norm.bias")] == [0.0, 0.0]
    elif how == "biases":
        assert found["norm.weight"].settings["weight_decay"] == 0.1


@pytest.mark.parametrize("key", ["optimizer_states", "optimizer", "optimizer_state_dict"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_in_the_file_of_the_weights(tmp_path, key, prefix):
    model, optimizer = trained()
    state = optimizer.state_dict()
    weights = {prefix + name: value for name, value in model.state_dict().items()}
    path = tmp_path / "last.ckpt"
    torch.save(
        {"state_dict": weights, "global_step": 3, key: [state] if key == "optimizer_states" else state}, path
    )
    file, found = read(path)
    assert file == str(path)
    expect(found, model, optimizer)


def test_nothing_there_says_where_it_was_looked_for(tmp_path):
    model, _ = trained()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no state of an optimizer") as caught:
        read(tmp_path)
    assert "model.optim.safetensors" in caught.value.problems[0]
    assert "optimizer.pt" in caught.value.problems[1]
    torch.save({"state_dict": model.state_dict()}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path / "last.ckpt")
    assert "optimizer_states" in caught.value.problems[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda saved: [saved], "not the state of a torch optimizer"),
        (lambda saved: {"state": saved["state"]}, "not the state of a torch optimizer"),
        (lambda saved: {**saved, "state": {"x": 1}}, "not the state of a torch optimizer"),
        (lambda saved: {**saved, "param_groups": saved["param_groups"] * 2}, "12 parameters, the model has 6"),
        (
            lambda saved: {**saved, "state": {**saved["state"], 0: {"exp_avg_sq": torch.ones(3)}}},
            "fit the model's parameters in no order",
        ),
    ],
)
def test_what_does_not_belong_is_refused(tmp_path, spoil, message):
    model, optimizer = trained()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(spoil(optimizer.state_dict()), tmp_path / "optimizer.pt")
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path)


def test_an_order_that_cannot_be_told_is_refused(tmp_path):
    """Four vectors of one shape in two groups of two: as the module lists them, or biases last."""
    model = nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4))
    named = dict(model.named_parameters())
    biases = [parameter for name, parameter in named.items() if name.endswith("bias")]
    weights = [parameter for name, parameter in named.items() if name.endswith("weight")]
    optimizer = torch.optim.Adam([{"params": weights}, {"params": biases}], lr=0.01)
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    checkpoint = open_checkpoint(str(tmp_path))
    with pytest.raises(CheckpointError, match="several orders"):
        read_states(checkpoint, model, {name: name for name in named})
