"""The largest stable eigenvalue, against the optimizers themselves on a quadratic of one parameter."""

import dataclasses
import itertools
import math

import pytest
import sample_spectra
import torch

from hessent.estimate import Estimate
from hessent.measures.learning_rate import learning_rate, stated_rate
from hessent.measures.stability import limit_of, stability_limit

RATE = 0.05


def grows(eigenvalue, **settings):
    """Whether torch's SGD grows on λθ²/2."""
    theta = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=RATE, **settings)
    sizes = []
    for _ in range(4000):
        optimizer.zero_grad()
        (0.5 * eigenvalue * theta**2).backward()
        optimizer.step()
        sizes.append(abs(theta.item()))
        if not 1e-60 < max(sizes[-8:]) < 1e60:
            break
    return max(sizes[-8:]) > 1.0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.3, "dampening": 0.4},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.2, "nesterov": True},
        {"momentum": 0.8, "weight_decay": 3.0},
        {"weight_decay": 7.0},
    ],
)
def test_sgd_of_torch_shrinks_below_the_limit_and_grows_above_it(settings):
    limit = stability_limit({"name": "sgd", **settings}, RATE).value
    assert not grows(0.99 * limit, **settings)
    assert grows(1.01 * limit, **settings)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_the_average_of_gradients_that_adam_steps_by_has_its_limit(beta):
    limit = stability_limit({"name": "adam", "betas": [beta, 0.999]}, RATE, "adam").value
    assert limit == pytest.approx((2 + 2 * beta) / ((1 - beta) * RATE))
    for factor, grown in ((0.99, False), (1.01, True)):
        theta, average = 1.0, 0.0
        for _ in range(4000):
            average = beta * average + (1 - beta) * factor * limit * theta
            theta -= RATE * average
        assert (abs(theta) > 1.0) == grown


@pytest.mark.parametrize(
    ("optimizer", "rate", "preconditioner"),
    [
        ({"name": "adam", "betas": [0.9, 0.999]}, 0.1, "none"),
        ({"name": "sgd"}, 0.1, "adam"),
        ({"name": "lion"}, 0.1, "none"),
        ({}, 0.1, "none"),
        ({"name": "sgd"}, None, "none"),
        ({"name": "sgd"}, 0.0, "none"),
        ({"name": "sgd"}, math.nan, "none"),
        ({"name": "sgd", "momentum": "0.9"}, 0.1, "none"),
        ({"name": "sgd", "momentum": 1.0}, 0.1, "none"),
        ({"name": "sgd", "momentum": 10**400}, 0.1, "none"),
        ({"name": "sgd", "nesterov": "yes"}, 0.1, "none"),
        ({"name": "sgd", "weight_decay": 1e6}, 0.1, "none"),
        ({"name": "adam", "betas": 0.9}, 0.1, "adam"),
        ({"name": "adam", "betas": [True, 0.9]}, 0.1, "adam"),
    ],
)
def test_where_there_is_no_limit_none_is_told(optimizer, rate, preconditioner):
    assert stability_limit(optimizer, rate, preconditioner) is None


@pytest.mark.parametrize(("schedule", "warmup"), list(itertools.product(("cosine", "constant"), (0, 10))))
def test_the_rate_is_that_of_the_update_that_follows_not_the_peak(schedule, warmup):
    optimizer = {"lr": 0.3, "schedule": schedule, "warmup_steps": warmup}
    for step in (0, 5, 10, 60, 99):
        expected = learning_rate(step, peak=0.3, schedule=schedule, warmup_steps=warmup, total_steps=100)
        assert stated_rate(optimizer, step, 100) == expected
    over = stated_rate(optimizer, 100, 100)
    assert over == (0.3 if schedule == "constant" and not warmup else None)


@pytest.mark.parametrize(
    "optimizer",
    [
        {},
        {"lr": "0.1"},
        {"lr": 0},
        {"lr": True},
        {"lr": 0.1, "schedule": "linear"},
        {"lr": 0.1, "warmup_steps": -1},
    ],
)
def test_a_rate_that_is_not_told_is_none(optimizer):
    assert stated_rate(optimizer, 5, 10) is None
    assert stated_rate({"lr": 0.1, "schedule": "cosine"}, None, 10) is None


def test_only_of_the_hessian_and_its_preconditioned_form_there_is_a_limit():
    spectrum = sample_spectra.spectrum((sample_spectra.exact_block("a", seed=1),))
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    spectrum = dataclasses.replace(
        spectrum, checkpoint=dataclasses.replace(spectrum.checkpoint, optimizer=optimizer, step=3)
    )
    assert limit_of(spectrum).value == pytest.approx(38.0)
    assert limit_of(dataclasses.replace(spectrum, curvature="ggn")) is None
    share = limit_of(spectrum).share(Estimate(19.0, 9.5, 38.0))
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.25, 1.0))
