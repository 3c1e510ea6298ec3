"""Settings of an optimizer: defaults, refusals, and that each one reaches torch."""

import pytest
import torch
from torch import nn

from hessent.errors import UsageError
from hessent.training.optimizer import DEFAULTS, build_optimizer, resolve_settings


def test_what_is_not_given_takes_its_default():
    assert resolve_settings("sgd", {"lr": 0.5, "momentum": None}) == {
        "lr": 0.5,
        "momentum": 0.9,
        "weight_decay": 0.0,
    }
    assert resolve_settings("adamw", {})["weight_decay"] == 0.01


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("adam", "momentum", 0.9), ("sgd", "betas", (0.9, 0.99)), ("sgd", "epsilon", 1e-8)],
)
def test_a_setting_the_optimizer_does_not_have_is_refused(name, setting, value):
    with pytest.raises(UsageError) as caught:
        resolve_settings(name, {setting: value})
    assert f"{name} has no --{setting}" in str(caught.value)


def test_all_values_out_of_range_are_named_at_once():
    with pytest.raises(UsageError) as caught:
        resolve_settings("adam", {"lr": 0.0, "betas": (0.9, 1.0), "weight_decay": float("nan")})
    assert len(caught.value.problems) == 3


def test_an_unknown_optimizer_is_answered_with_the_nearest_one():
    with pytest.raises(UsageError, match="adam"):
        resolve_settings("adma", {})


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_every_setting_reaches_torch(name):
    given = {"lr": 0.03, "weight_decay": 0.2, "momentum": 0.7, "betas": (0.8, 0.95), "epsilon": 1e-5}
    given |= {"tanh_scale": {"*": 7.0}, "levels": 4}
    settings = resolve_settings(name, {key: given[key] for key in DEFAULTS[name]})
    (group,) = build_optimizer(name, settings, [("w", nn.Parameter(torch.ones(2)))]).param_groups
    settings = {key: value["*"] if key == "tanh_scale" else value for key, value in settings.items()}
    translated = {("eps" if key == "epsilon" else key): value for key, value in settings.items()}
    assert {key: group[key] for key in translated} == translated


def test_one_step_of_each_optimizer_follows_its_formula():
    start, gradient, rate, decay = 2.0, 0.5, 0.1, 0.2
    coupled = gradient + decay * start
    expected = {
        "sgd": start - rate * coupled,
        "adam": start - rate * coupled / (coupled + 1e-8),
        "adamw": start * (1 - rate * decay) - rate * gradient / (gradient + 1e-8),
    }
    for name, value in expected.items():
        parameter = nn.Parameter(torch.tensor([start], dtype=torch.float64))
        settings = resolve_settings(name, {"lr": rate, "weight_decay": decay})
        optimizer = build_optimizer(name, settings, [("w", parameter)])
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        assert parameter.item() == pytest.approx(value, rel=1e-12)
