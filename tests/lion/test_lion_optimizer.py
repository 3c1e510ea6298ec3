"""Lion and Lion-tanh as torch optimizers and in training runs; the file of scales."""

import hashlib
import math

import pytest
import torch
from torch import nn

from hessent.errors import InputError, UsageError
from hessent.optimizers.lion import MEMORY, Lion
from hessent.optimizers.tanh_scales import groups, parse_scales, scales_text
from hessent.training.plan import TrainingRequest
from hessent.training.trainer import train


def by_hand(gradients, start, *, rate, betas, decay, shape):
    """The published update, in plain Python numbers."""
    weight, memory = start, 0.0
    for gradient in gradients:
        update = betas[0] * memory + (1 - betas[0]) * gradient
        weight = weight - rate * (shape(update) + decay * weight)
        memory = betas[1] * memory + (1 - betas[1]) * gradient
    return weight, memory


@pytest.mark.parametrize("scale", [None, 3.0])
def test_steps_follow_the_published_update(scale):
    gradients, settings = [0.5, -2.0, 0.1, 0.3], {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.2}
    parameter = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
    optimizer = Lion([{"params": [parameter], "tanh_scale": scale}], **settings)
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()

    def shape(update):
        return math.copysign(1, update) if scale is None else math.tanh(scale * update)

    weight, memory = by_hand(gradients, 1.5, rate=0.1, betas=(0.8, 0.95), decay=0.2, shape=shape)
    assert parameter.item() == pytest.approx(weight, rel=1e-12)
    assert optimizer.state[parameter][MEMORY].item() == pytest.approx(memory, rel=1e-12)


def test_where_there_is_no_update_nothing_moves():
    parameter = nn.Parameter(torch.tensor([1.0, 1.0]))
    other = nn.Parameter(torch.ones(1))
    optimizer = Lion([parameter, other], lr=0.1)
    parameter.grad = torch.tensor([0.0, 1.0])
    optimizer.step()
    assert parameter.tolist() == pytest.approx([1.0, 0.9])
    assert other.item() == 1.0


def moved(scale):
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.zeros(50))
    optimizer = Lion([{"params": [parameter], "tanh_scale": scale}], lr=1.0)
    parameter.grad = torch.randn(50)
    optimizer.step()
    return -parameter.detach(), 0.1 * parameter.grad


def test_a_large_scale_is_the_sign_and_a_small_one_is_linear():
    assert torch.equal(moved(1e9)[0], moved(None)[0])
    steps, update = moved(1e-4)
    assert torch.allclose(steps, 1e-4 * update, rtol=1e-5)


def asked(out, **changes):
    settings = {"arch": "mlp", "arch_options": {"sizes": "64-8-10"}, "data": "digits", "out": str(out)}
    return TrainingRequest(**{**settings, "steps": 12, "percents": (0, 50, 100), "threads": 1, **changes})


class Stop:
    """An observer that ends a run as Ctrl-C does."""

    def __init__(self, after):
        self.after = after

    def __getattr__(self, name):
        return lambda *told: None

    def stepped(self, step, loss):
        if step == self.after:
            raise KeyboardInterrupt


OPTIMIZERS = {"lion": {"lr": 0.01}, "lion-tanh": {"lr": 0.01, "tanh_scale": {"*": 200.0, "body.0.weight": 50.0}}}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path, name):
    settings = dict(OPTIMIZERS[name])
    if "tanh_scale" in settings:
        names = _parameter_names(tmp_path)
        settings["tanh_scale"] = {"*": 200.0, names[0]: 50.0}
    whole = train(asked(tmp_path / "whole", optimizer=name, optimizer_settings=settings))
    with pytest.raises(KeyboardInterrupt):
        train(asked(tmp_path / "parts", optimizer=name, optimizer_settings=settings), Stop(8))
    train(asked(tmp_path / "parts", optimizer=name, optimizer_settings=settings))
    digests = [
        {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / run).glob("*")}
        for run in ("whole", "parts")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 5
    losses = [saved.metrics["train_loss"] for saved in whole.checkpoints]
    assert losses[-1] < losses[0]


def _parameter_names(folder):
    from hessent.arch.registry import build

    model = build("mlp", options={"sizes": "64-8-10"}, where="test").model
    return [name for name, _ in model.named_parameters()]


def test_scales_are_written_and_read_back(tmp_path):
    scales = {"*": 12.5, 'odd "name"\\.weight': 0.25}
    path = tmp_path / "scales.toml"
    path.write_text(scales_text(scales, ["made by a test"]))
    assert parse_scales(str(path)) == scales
    assert parse_scales("30") == {"*": 30.0}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[lion-tanh.scale]\na = 0", "not numbers above 0"),
        ("[lion-tanh.scale]\na = inf", "not numbers above 0"),
        ("[lion-tanh.scale]\na = true", "not numbers above 0"),
        ("[scale]\na = 1", "no scales"),
        ("not toml", "not TOML"),
        ("lion-tanh = 3", "no scales"),
        ("", "empty"),
    ],
)
def test_files_that_are_no_scales_are_refused(tmp_path, content, told):
    path = tmp_path / "scales.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=told):
        parse_scales(str(path))


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "nowhere.toml"])
def test_what_is_no_scale_is_refused(text):
    with pytest.raises(UsageError, match="--tanh-scale"):
        parse_scales(text)


def test_scales_that_do_not_fit_the_network_are_all_named():
    named = [("a", nn.Parameter(torch.ones(1))), ("b", nn.Parameter(torch.ones(1)))]
    with pytest.raises(UsageError) as caught:
        groups({"a": 1.0, "c": 1.0}, named)
    assert len(caught.value.problems) == 2
