"""Steps from a state, and from rebuilt states, against the step that the optimizer itself takes next."""

import pytest
import torch
from stateful_steps import Odd, Place, grown_state, next_step
from torch.optim import SGD, Adagrad, Adam, AdamW

from hessent.checkpoint.adam_files import StoredState
from hessent.errors import CheckpointError, UsageError
from hessent.measures.step_analysis import REBUILT, STATE
from hessent.optimizers.emc import Emc
from hessent.optimizers.lion import Lion
from hessent.optimizers.steps.all_steps import EXPLICIT

# Row, optimizer, its settings.
OPTIMIZERS = {
    "sgd": ("momentum", SGD, {"momentum": 0.9}),
    "sgd, dampened": ("momentum", SGD, {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    "sgd, Nesterov's": ("momentum", SGD, {"momentum": 0.7, "nesterov": True, "weight_decay": 0.1}),
    "adam": ("adam", Adam, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
    "adam, amsgrad": ("adam", Adam, {"betas": (0.6, 0.7), "amsgrad": True}),
    "adamw": ("adam", AdamW, {"betas": (0.8, 0.95), "weight_decay": 0.2}),
    "adagrad": ("adagrad", Adagrad, {"lr_decay": 0.2, "weight_decay": 0.1, "eps": 1e-3}),
    "lion": ("lion", Lion, {"betas": (0.8, 0.95), "weight_decay": 0.2}),
    "emc": ("emc", Emc, {"levels": 3}),
}
STATES = {
    "momentum": "momentum_buffer",
    "adam": "exp_avg_sq",
    "adagrad": "sum",
    "lion": "exp_avg",
    "emc": "exp_avg_2",
}
LINEAR = ("momentum", "adam", "adagrad")


def made_by(case):
    _, optimizer, settings = OPTIMIZERS[case]
    return lambda parameters: optimizer(list(parameters), lr=1.0, **settings)


def same(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == torch.float64
        assert found[name].shape == value.shape
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("net", [None, Odd])
@pytest.mark.parametrize("case", OPTIMIZERS)
def test_from_a_state_it_is_the_step_that_the_optimizer_takes_next(case, net):
    place = Place(net) if net else Place()
    states = grown_state(place, made_by(case))
    step = place.step(OPTIMIZERS[case][0], states=states)
    assert step.source == STATE
    assert "run/step-7.optim.safetensors" in step.told
    same(step.direction, next_step(place, made_by(case), states=states))


@pytest.mark.parametrize("case", [case for case in OPTIMIZERS if case != "adam, amsgrad"])
def test_a_rebuilt_state_is_the_optimizers_own_over_the_same_gradients_at_fixed_weights(case):
    place = Place()
    row, _, settings = OPTIMIZERS[case]
    trained = {"name": case.split(",")[0], **settings}
    if "betas" in trained:
        trained["betas"] = list(trained["betas"])  # as metadata are read
    step = place.step(row, trained=trained)
    assert step.source == REBUILT
    assert "rebuilt from 3 mini-batch gradients" in step.told
    same(step.direction, next_step(place, made_by(case), before=place.mini))


@pytest.mark.parametrize(
    ("row", "make"),
    [
        ("momentum", lambda p: SGD(p, lr=1.0, momentum=0.9)),
        ("adam", lambda p: Adam(p, lr=1.0)),
        ("adagrad", lambda p: Adagrad(p, lr=1.0)),
        ("lion", lambda p: Lion(p, lr=1.0)),
        ("emc", lambda p: Emc(p, lr=1.0)),
    ],
)
def test_settings_of_another_optimizers_training_are_none_of_its(row, make):
    place = Place()
    trained = {"name": "rmsprop", "momentum": 0.5, "weight_decay": 0.3, "betas": [0.1, 0.2], "levels": 2}
    same(place.step(row, trained=trained).direction, next_step(place, make, before=place.mini))


def test_a_parameter_without_a_state_begins_anew():
    place = Place()
    for case in ("adam", "sgd", "lion", "emc"):  # torch's Adagrad has a state from the outset
        states = grown_state(place, made_by(case), skipped=["0.bias"])
        states.pop("0.bias", None)
        found = place.step(OPTIMIZERS[case][0], states=states).direction
        same(found, next_step(place, made_by(case), states=states))


def test_other_optimizers_averages_serve_lion_alone():
    place = Place()
    for case in ("adam", "sgd"):
        states = grown_state(place, made_by(case))
        steps = {step.optimizer: step for step in place.steps(STATES, states=states)}
        own = OPTIMIZERS[case][0]
        assert {name for name, step in steps.items() if step.source == STATE} == {own, "lion"}
    memory = {name: 0.1 * state.tensors["momentum_buffer"] for name, state in states.items()}
    mixed = {name: -(0.9 * memory[name] + 0.1 * place.gradient[name]).sign() for name in memory}
    same(steps["lion"].direction, mixed)


@pytest.mark.parametrize("row", STATES)
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda tensor: tensor.reshape(-1), "its weight (5, 4)"),
        (lambda tensor: tensor * float("nan"), "not finite"),
    ],
)
def test_states_that_do_not_fit_the_weights_are_refused_by_name(row, spoil, told):
    place = Place()
    case = "sgd" if row == "momentum" else row
    states = grown_state(place, made_by(case))
    old = states["0.weight"]
    states["0.weight"] = StoredState({**old.tensors, STATES[row]: spoil(old.tensors[STATES[row]])}, old.settings)
    with pytest.raises(CheckpointError) as caught:
        place.step(row, states=states)
    assert told in str(caught.value)
    assert f"0.weight/{STATES[row]}" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("row", "key", "value"), [("adam", "exp_avg_sq", -1.0), ("adagrad", "step", float("nan"))])
def test_squares_below_zero_and_steps_that_are_no_number_are_refused(row, key, value):
    place = Place()
    states = grown_state(place, made_by(row))
    old = states["0.bias"]
    states["0.bias"] = StoredState({**old.tensors, key: old.tensors[key] * 0 + value}, old.settings)
    with pytest.raises(CheckpointError, match=f"0.bias/{key}"):
        place.step(row, states=states)


def test_what_no_state_needs_is_not_asked_for():
    place = Place()
    states = grown_state(place, made_by("adam"))

    def never():
        raise AssertionError("mini-batches were gone through")
        yield

    place.mini = never()
    assert [step.optimizer for step in place.steps(["sign-gd", "adam"], states=states)] == ["sign-gd", "adam"]
    with pytest.raises(UsageError, match="momentum"):
        place.step("momentun")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_step_stands_on_a_net_with_tied_unused_empty_and_scalar_parameters(dtype):
    place = Place(Odd, dtype=dtype)
    steps = place.steps(EXPLICIT)
    assert [step.optimizer for step in steps] == list(EXPLICIT)
    for step in steps:
        assert {name: value.shape for name, value in step.direction.items()} == {
            name: value.shape for name, value in place.problem.parameters.items()
        }
        assert all(value.dtype == torch.float64 and value.isfinite().all() for value in step.direction.values())
        assert not step.direction["unused"].any()
        assert float(place.flat(step.direction) @ place.flat(place.gradient)) < 0
        same(step.apply(place.gradient), step.direction)
