"""Numbers of a run: length, milestones, learning rate, and the refusals of numbers without sense."""

import itertools
import math

import pytest

from hessent.errors import UsageError
from hessent.measures.learning_rate import learning_rate
from hessent.training.plan import TrainingRequest, make_plan, milestones, resolve_loss_name

ASKED = {"arch": "mlp", "data": "digits", "out": "run", "optimizer": "sgd"}


def plan(num_samples=1000, **changes):
    return make_plan(TrainingRequest(**{**ASKED, **changes}), num_samples)


def test_epochs_become_the_fewest_steps_that_use_every_sample_that_often():
    assert plan(epochs=3, batch_size=64).total_steps == math.ceil(3 * 1000 / 64)
    assert plan(epochs=3, batch_size=None).total_steps == 3
    assert plan(steps=17).total_steps == 17


def test_milestones_are_percents_of_the_steps_and_always_hold_the_end():
    assert milestones(1000, (0, 1, 25, 50, 75, 100)) == (0, 10, 250, 500, 750, 1000)
    assert milestones(1000, (50,)) == (500, 1000)


def test_one_percent_of_a_short_run_is_its_first_step():
    assert milestones(10, (0, 1, 100)) == (0, 1, 10)
    assert milestones(1, (0, 1, 25, 50, 75, 100)) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 2, "steps": 3}, "--epochs"),
        ({"steps": 0}, "--steps"),
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 1001}, "--batch-size"),
        ({"batch_size": 0}, "--batch-size"),
        ({"steps": 5, "warmup_steps": 5}, "--warmup-steps"),
        ({"warmup_steps": -1}, "--warmup-steps"),
        ({"schedule": "cosin"}, "--schedule"),
        ({"percents": (0, 101)}, "--checkpoints"),
        ({"percents": (float("nan"),)}, "--checkpoints"),
        ({"optimizer": "lionel"}, "--optimizer"),
        ({"optimizer": "lion-tanh"}, "--tanh-scale"),
    ],
)
def test_a_number_without_sense_is_refused_by_the_name_of_its_option(changes, named):
    with pytest.raises(UsageError) as caught:
        plan(**changes)
    assert named in str(caught.value)


def rates(schedule, warmup_steps, total_steps=100):
    return [
        learning_rate(step, peak=0.3, schedule=schedule, warmup_steps=warmup_steps, total_steps=total_steps)
        for step in range(total_steps)
    ]


def test_the_cosine_falls_from_the_peak_towards_zero_without_reaching_it():
    found = rates("cosine", 0)
    assert found[0] == 0.3
    assert found[50] == pytest.approx(0.15)
    assert all(later < earlier for earlier, later in itertools.pairwise(found))
    assert 0 < found[-1] < 0.001


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_warm_up_rises_linearly_to_the_peak(schedule):
    found = rates(schedule, 10)
    assert found[:10] == pytest.approx([0.03 * step for step in range(1, 11)])
    assert found[9] == pytest.approx(0.3)
    assert found[10] == pytest.approx(0.3)


def test_a_constant_rate_stays():
    assert set(rates("constant", 0)) == {0.3}


def test_label_smoothing_is_a_setting_of_cross_entropy():
    assert resolve_loss_name(None, None) is None
    assert resolve_loss_name("mse", None) == "mse"
    assert resolve_loss_name(None, 0.1) == "cross-entropy?label_smoothing=0.1"
    with pytest.raises(UsageError, match="mse"):
        resolve_loss_name("mse", 0.1)
