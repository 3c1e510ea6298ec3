"""The optimizer's state goes with its checkpoint, by names, and is not taken for another's."""

import pytest
import torch
from torch import nn

from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.optimizer_names import flatten_states, optimizer_state_path, split_states, states_by_name
from hessent.checkpoint.optimizer_state import find_optimizer_state, read_optimizer_state
from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.writer import save_checkpoint
from hessent.errors import CheckpointError


def trained(make=torch.optim.Adam, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = make(model.parameters(), **settings)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
    return model, states_by_name(model.named_parameters(), optimizer)


def save(path, step=3, **options):
    model, states = trained(**options)
    save_checkpoint(str(path), model.state_dict(), CheckpointMetadata(step=step), states)
    return str(path), states


@pytest.mark.parametrize(
    ("make", "settings", "names"),
    [
        (torch.optim.Adam, {}, ("exp_avg", "exp_avg_sq", "step")),
        (torch.optim.AdamW, {"amsgrad": True}, ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step")),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, ("momentum_buffer",)),
    ],
)
def test_state_round_trip_is_exact(tmp_path, make, settings, names):
    path, states = save(tmp_path / "step-000003.safetensors", make=make, **settings)
    read = read_optimizer_state(open_checkpoint(path))
    assert read.path == str(tmp_path / "step-000003.optim.safetensors")
    assert read.state_names == names
    assert (
        read.states.keys()
        == states.keys()
        == dict(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).named_parameters()).keys()
    )
    for name, state in states.items():
        assert all(torch.equal(read.states[name][key], value) for key, value in state.items())


def test_plain_numbers_in_a_state_are_kept_as_scalars():
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    optimizer.state[parameter] = {"step": 3, "scale": 0.5, "momentum_buffer": None, "name": "x"}
    states = states_by_name([("w", parameter)], optimizer)
    assert {key: (value.item(), value.dtype) for key, value in states["w"].items()} == {
        "step": (3, torch.int64),
        "scale": (0.5, torch.float64),
    }


def test_parameters_without_state_are_left_out():
    parameter = nn.Parameter(torch.zeros(2))
    assert states_by_name([("w", parameter)], torch.optim.SGD([parameter], lr=0.1)) == {}


@pytest.mark.parametrize(
    ("path", "sibling"),
    [
        ("run/step-1.safetensors", "run/step-1.optim.safetensors"),
        ("model.safetensors.index.json", "model.optim.safetensors"),
        ("a.pth.tar", "a.optim.safetensors"),
        ("epoch=2-step=300.ckpt", "epoch=2-step=300.optim.safetensors"),
        ("v1.5.pt", "v1.5.optim.safetensors"),
    ],
)
def test_the_sibling_has_the_same_stem(path, sibling):
    assert optimizer_state_path(path) == sibling


def test_without_a_sibling_there_is_no_state(tmp_path):
    save_checkpoint(str(tmp_path / "a.safetensors"), {"w": torch.zeros(1)}, CheckpointMetadata())
    assert find_optimizer_state(str(tmp_path / "a.safetensors")) is None
    assert read_optimizer_state(open_checkpoint(str(tmp_path / "a.safetensors"))) is None


def test_a_directory_has_its_sibling_inside(tmp_path):
    save(tmp_path / "model.safetensors")
    assert find_optimizer_state(str(tmp_path)) == str(tmp_path / "model.optim.safetensors")
    assert read_optimizer_state(open_checkpoint(str(tmp_path))) is not None


def test_names_with_slashes_are_taken_apart_at_the_last():
    flat = flatten_states({"a/b": {"exp_avg": torch.zeros(2)}}, {"a/b": torch.zeros(2)}, "here")
    assert split_states(flat, "here").keys() == {"a/b"}


@pytest.mark.parametrize("name", ["weight", "/exp_avg", "weight/"])
def test_a_file_without_states_is_refused(tmp_path, name):
    path, _ = save(tmp_path / "a.safetensors")
    save_checkpoint(str(tmp_path / "b.safetensors"), {name: torch.zeros(1)}, CheckpointMetadata())
    (tmp_path / "b.safetensors").rename(tmp_path / "a.optim.safetensors")
    with pytest.raises(CheckpointError, match="PARAMETER/STATE"):
        read_optimizer_state(open_checkpoint(path))


def test_the_state_of_another_step_is_refused(tmp_path):
    path, _ = save(tmp_path / "a.safetensors", step=3)
    save(tmp_path / "b.safetensors", step=4)
    (tmp_path / "b.optim.safetensors").replace(tmp_path / "a.optim.safetensors")
    with pytest.raises(CheckpointError, match="is of step 4, the weights are of step 3"):
        read_optimizer_state(open_checkpoint(path))


def test_the_state_of_other_weights_is_refused_with_all_that_is_wrong(tmp_path):
    path, _ = save(tmp_path / "a.safetensors")
    other = {"0.weight": torch.zeros(5, 3), "0.bias": torch.zeros(4), "9.weight": torch.zeros(1)}
    states = {name: {"exp_avg": value, "step": torch.tensor(1.0)} for name, value in other.items()}
    save_checkpoint(str(tmp_path / "b.safetensors"), other, CheckpointMetadata(), states)
    (tmp_path / "b.optim.safetensors").replace(tmp_path / "a.optim.safetensors")
    with pytest.raises(CheckpointError) as caught:
        read_optimizer_state(open_checkpoint(path))
    assert caught.value.problems == (
        "'9.weight' is not a tensor of the checkpoint",
        "'0.weight/exp_avg' is (5, 3), its weight is (4, 3)",
    )


def test_a_state_that_does_not_belong_is_not_written(tmp_path):
    for states in (
        {"v": {"exp_avg": torch.zeros(1)}},
        {"w": {"exp_avg": torch.zeros(2)}},
        {"w": {"a/b": torch.zeros(1)}},
    ):
        with pytest.raises(CheckpointError):
            save_checkpoint(str(tmp_path / "a.safetensors"), {"w": torch.zeros(1)}, CheckpointMetadata(), states)
    assert list(tmp_path.iterdir()) == []


def test_a_state_of_its_own_shape_is_taken(tmp_path):
    states = {"w": {"row": torch.zeros(4), "step": torch.tensor(1.0)}}
    save_checkpoint(str(tmp_path / "a.safetensors"), {"w": torch.zeros(4, 2)}, CheckpointMetadata(), states)
    assert read_optimizer_state(open_checkpoint(str(tmp_path / "a.safetensors"))).states["w"]["row"].shape == (4,)


def test_a_state_that_is_not_finite_is_refused(tmp_path):
    states = {"w": {"exp_avg": torch.tensor([float("nan")])}}
    save_checkpoint(str(tmp_path / "a.safetensors"), {"w": torch.zeros(1)}, CheckpointMetadata(), states)
    with pytest.raises(CheckpointError, match="1 NaN"):
        read_optimizer_state(open_checkpoint(str(tmp_path / "a.safetensors")))
