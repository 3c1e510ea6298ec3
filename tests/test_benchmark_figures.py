"""The benchmarks' own arithmetic, on clocks that do not tick by themselves."""

import itertools
import json

import pytest
import torch
from benchmarks.figures import Bar, Spread, interleave, ratios
from benchmarks.live_storages import LiveStorages
from benchmarks.plain_quadrature import functionals, gauss_rules, recurrences
from benchmarks.sections import Section


class Clock:
    """Stands still unless it is moved."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def task(self, log, name, seconds):
        """Return a task that takes the next of `seconds`."""
        durations = itertools.chain(seconds)

        def run():
            log.append(name)
            self.now += next(durations)

        return run


def test_every_round_runs_every_task_once_and_begins_with_another():
    clock, log = Clock(), []
    tasks = {name: clock.task(log, name, [1.0] * 3) for name in "abc"}
    interleave(tasks, 3, clock=clock)
    assert log == list("abc" + "bca" + "cab")


def test_seconds_belong_to_their_task_and_round_whatever_the_order():
    clock = Clock()
    tasks = {"a": clock.task([], "a", [1.0, 2.0, 3.0]), "b": clock.task([], "b", [10.0, 20.0, 30.0])}
    assert interleave(tasks, 3, clock=clock) == {"a": [1.0, 2.0, 3.0], "b": [10.0, 20.0, 30.0]}


def test_a_slow_task_takes_part_in_the_first_rounds_only():
    clock, log = Clock(), []
    tasks = {name: clock.task(log, name, [1.0] * 4) for name in "ab"}
    found = interleave(tasks, 4, few={"b": 2}, clock=clock)
    assert [len(found["a"]), len(found["b"])] == [4, 2]
    assert log[-2:] == ["a", "a"]


def test_a_machine_that_slows_down_changes_no_ratio():
    slow = [1.0, 5.0, 2.0]
    assert ratios([3.0 * factor for factor in slow], [1.5 * factor for factor in slow]) == [2.0, 2.0, 2.0]
    assert ratios([2.0, 4.0, 6.0], [1.0, 2.0]) == [2.0, 2.0]


def test_a_spread_tells_least_median_and_greatest():
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(1.0, 2.5, 10.0, 4)
    assert str(Spread.of([3.0, 1.0, 2.0])) == "2 (1–3)"


@pytest.mark.parametrize(
    ("numbers", "at_least", "verdict"),
    [
        ([0.9, 1.0, 1.5], False, "met"),
        ([0.9, 1.1, 1.5], False, "not met, within the spread"),
        ([1.1, 1.2, 1.5], False, "not met"),
        ([0.9, 1.0, 1.5], True, "met"),
        ([0.5, 0.9, 1.5], True, "not met, within the spread"),
        ([0.5, 0.8, 0.9], True, "not met"),
    ],
)
def test_a_bar_is_judged_by_the_median_on_its_good_side(numbers, at_least, verdict):
    assert Bar("claim", Spread.of(numbers), 1.0, at_least=at_least).verdict == verdict


def test_the_json_says_what_the_table_says():
    bar = Bar("at most 1", Spread.of([0.5]), 1.0)
    section = Section("title", ["note"], [{"model": "m", "cost": Spread.of([2.0, 3.0])}], [bar])
    document = json.loads(json.dumps(section.document()))
    assert document["rows"] == [{"model": "m", "cost": {"low": 2.0, "median": 2.5, "high": 3.0, "count": 2}}]
    assert document["bars"][0]["verdict"] == "met"
    assert "| m | 2.5 (2–3) |" in list(section.lines())


def test_storages_are_counted_once_and_until_they_are_freed():
    standing = torch.zeros(250)  # float32: 1,000 bytes
    with LiveStorages([standing]) as storages:
        assert storages.live == 1000
        other = torch.ones(250)
        view = other[10:]
        assert storages.live == 2000
        del other
        assert storages.live == 2000
        del view
        assert (storages.live, storages.peak) == (1000, 2000)


def test_what_autograd_keeps_counts_until_the_graph_is_gone():
    with LiveStorages() as storages:
        leaf = torch.ones(250, requires_grad=True)
        loss = (leaf.exp() * 2).exp().sum()
        held = storages.live
        loss.backward()
        assert held - storages.live == 1000  # two results of exp were kept, a gradient came


def test_plain_quadrature_of_as_many_steps_as_eigenvalues_is_exact():
    eigenvalues = torch.tensor([-1.0, 0.5, 2.0, 4.0, 7.0], dtype=torch.float64).numpy()
    starts = torch.ones(5, 3, dtype=torch.float64).numpy()  # every eigenvector weighs the same
    nodes, weights = gauss_rules(*recurrences(eigenvalues, starts, 5), 5)
    for node, weight in zip(nodes, weights, strict=True):
        assert functionals(node, 5 * weight, 5)["trace"] == pytest.approx(eigenvalues.sum(), rel=1e-12)
        assert functionals(node, 5 * weight, 5)["abs_trace"] == pytest.approx(abs(eigenvalues).sum(), rel=1e-10)
