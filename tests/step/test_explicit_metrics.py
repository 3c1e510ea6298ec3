"""What steps say of their metric, of other gradients and of the limit of stable rates, against what they do."""

import pytest
import torch
from stateful_steps import Odd, Place, grown_state
from torch import nn

from hessent.optimizers.steps.all_steps import EXPLICIT


@pytest.mark.parametrize("name", EXPLICIT)
def test_linear_steps_are_affine_in_the_gradient_and_their_metric_undoes_them(name):
    place = Place(Odd)
    step = place.step(name)
    one, two, nothing = place.random(1), place.random(2), place.random(3)
    nothing = {key: value * 0 for key, value in nothing.items()}
    rest, first, second = (place.flat(step.apply(given)) for given in (nothing, one, two))
    both = place.flat(step.apply({key: one[key] - 3 * two[key] for key in one}))
    affine = torch.allclose(both - rest, first - rest - 3 * (second - rest), rtol=1e-9, atol=1e-12)
    assert affine == step.linear
    if step.linear and name != "l-bfgs":
        divided = place.flat(step.inverse_root(step.inverse_root(one)))
        torch.testing.assert_close(rest - first, step.gain * divided, rtol=1e-6, atol=1e-9)
    if step.metric is not None:
        torch.testing.assert_close(divided * place.flat(step.metric), place.flat(one), rtol=1e-9, atol=1e-12)


SGD_SETTINGS = [
    {"momentum": 0.9},
    {"momentum": 0.8, "dampening": 0.5},
    {"momentum": 0.9, "nesterov": True},
]


@pytest.mark.parametrize("settings", SGD_SETTINGS)
def test_momentum_is_stable_up_to_the_limit_and_not_beyond(settings):
    place = Place()
    states = grown_state(place, lambda parameters: torch.optim.SGD(parameters, lr=1.0, **settings))
    limit = place.step("momentum", states=states).stable_up_to

    def distance(rate):
        weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        optimizer = torch.optim.SGD([weight], lr=rate, **settings)
        for _ in range(1500):
            weight.grad = weight.detach().clone()
            optimizer.step()
        return abs(weight.item())

    assert distance(0.98 * limit) < 1e-3
    assert distance(1.02 * limit) > 1e3


def test_adams_limit_is_that_of_the_adaptive_edge_of_stability():
    step = Place().step("adam")
    assert step.stable_up_to == pytest.approx(38.0)
    assert (step.momentum, step.gain) == (0.9, pytest.approx(0.1))
