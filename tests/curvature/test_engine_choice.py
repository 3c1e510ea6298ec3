"""Which engine is chosen: the cheapest for the planned work among those that are right."""

import time

import pytest
import torch
from cases import cases, seeded

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines import catalogue, tuner
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.problem import Problem
from hessent.errors import UsageError

CASE = next(iter(cases()))


def engine(**options):
    problem = Problem(seeded(CASE.model), CASE.loss, CASE.batches(4, 4, 1), dtype=torch.float64)
    problem.measure_loss()
    return HessianEngine(problem, **{"memory": 2**30, **options})


def whole(served):
    return resolve_blocks(served.problem.model, served.problem.parameters, ["full"], full=True)[0]


class Slow(DoubleBackward):
    """Right, but every product takes 5 ms and the set-up 20 ms."""

    def __init__(self, problem, inputs, targets):
        time.sleep(0.02)
        super().__init__(problem, inputs, targets)

    def products(self, block, V):
        time.sleep(0.005 * V.shape[1])
        return super().products(block, V)


class Quick(DoubleBackward):
    """Right and quick, after a long set-up."""

    def __init__(self, problem, inputs, targets):
        time.sleep(0.05)
        super().__init__(problem, inputs, targets, at_once=8)


class Wrong(DoubleBackward):
    def products(self, block, V):
        return 1.01 * super().products(block, V)


class Failing(DoubleBackward):
    def products(self, block, V):
        raise NotImplementedError("no batching rule for this layer")


@pytest.fixture
def candidates(monkeypatch):
    """Make the given class the only candidate beside a slow double backward."""

    def install(build, kept_over_graph=1.0):
        kinds = {
            "retained": catalogue.EngineKind("retained", Slow, 1, 1.0),
            "lockstep": catalogue.EngineKind("lockstep", Slow, 1, 0.0),
            "linearized": catalogue.EngineKind("linearized", build, 8, kept_over_graph),
        }
        monkeypatch.setattr(catalogue, "_KINDS", kinds)
        monkeypatch.setitem(tuner._EXPECTED, "cpu", {"linearized": tuner._EXPECTED["cpu"]["linearized"]})

    return install


def test_a_candidate_that_saves_more_than_its_set_up_is_chosen_and_one_that_does_not_is_not(candidates):
    candidates(Quick)
    served = engine()
    served.choose([(whole(served), 100_000)])
    assert served.engine == "linearized", served.why
    assert served.why.startswith("a product with full: retained 0.0")
    plan = tuner.Plan(((whole(served), 20_000),), together=1, micro_batches=3, memory=0, graph_bytes=10)
    slow = tuner.Trial(catalogue.engine_kind("lockstep"), 0.02, (0.005,))
    dear = tuner.Trial(catalogue.engine_kind("linearized"), 2.0, (0.001,))
    assert slow.seconds(plan) < dear.seconds(plan)  # set up anew on every pass: it does not fit


def test_nothing_is_tried_that_would_take_more_than_its_share_of_the_work(candidates):
    candidates(Quick)
    served = engine()
    served.choose([(whole(served), 20)])
    assert served.engine == "retained"
    assert served.why.endswith("linearized not tried")


@pytest.mark.parametrize(
    ("build", "reason"), [(Wrong, "differs from double backward by 0.01"), (Failing, "no batch")]
)
def test_wrong_and_failing_candidates_are_excluded_with_the_reason(candidates, build, reason):
    candidates(build)
    served = engine()
    served.choose([(whole(served), 100_000)])
    assert served.engine == "retained"
    assert f"linearized excluded: {reason}" in served.why


def test_a_candidate_that_keeps_more_than_fits_is_not_tried(candidates):
    candidates(Quick, kept_over_graph=1e6)
    served = engine(memory=2**24)
    served.choose([(whole(served), 100_000)])
    assert served.engine == "retained"
    assert "linearized would take" in served.why


def test_without_room_for_graphs_they_are_rebuilt_and_the_engine_says_so():
    served = engine(memory=0)
    served.choose([(whole(served), 10)])
    assert served.engine == "lockstep"
    assert engine(memory=0, engine="retained").engine == "lockstep"
    assert engine(engine="lockstep").engine == "lockstep"
    assert engine(engine="batched").engine == "batched"


def test_a_fixed_engine_is_not_timed(candidates):
    candidates(Failing)
    served = engine(engine="retained")
    served.choose([(whole(served), 100_000)])
    assert (served.engine, served.why) == ("retained", "asked for")


def test_an_unknown_engine_is_refused_with_the_names_there_are():
    with pytest.raises(UsageError, match=r"(?s)'retaind' is not an engine.*retained") as error:
        engine(engine="retaind")
    assert "linearized" in str(error.value)


def test_a_choice_is_remembered_for_the_same_circumstances_only(candidates, monkeypatch):
    candidates(Quick)
    first = engine()
    first.choose([(whole(first), 100_000)])
    monkeypatch.setattr(tuner.Tuner, "choose", lambda self: pytest.fail("timed again"))
    again = engine()
    again.choose([(whole(again), 100_000)])
    assert (again.engine, again.why) == (first.engine, first.why) == ("linearized", first.why)
    monkeypatch.setattr(tuner.Tuner, "choose", lambda self: tuner.Choice("lockstep", "timed"))
    for other, vectors in ((engine(memory=0), 100_000), (engine(), 100)):
        other.choose([(whole(other), vectors)])
        assert other.why == "timed"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"question": 1}', b"\xff", b'{"answer": {"engine": "x"}}']
)
def test_a_spoiled_memory_is_as_good_as_none(candidates, tmp_path, monkeypatch, content):
    monkeypatch.setenv("HESSENT_CACHE", str(tmp_path / "cache"))
    candidates(Quick)
    first = engine()
    first.choose([(whole(first), 100_000)])
    (kept,) = (tmp_path / "cache" / "tuned").iterdir()
    kept.write_bytes(content)
    again = engine()
    again.choose([(whole(again), 100_000)])
    assert again.engine == "linearized"
    monkeypatch.setenv("HESSENT_CACHE", str(kept))  # a file where a folder should be
    engine().choose([(whole(again), 100_000)])


def test_several_vectors_at_once_are_tried_only_where_they_hold_little(monkeypatch):
    served = engine()
    served.choose([(whole(served), 10**6)])
    assert "batched" in served.why
    assert "at once" not in served.why
    monkeypatch.setitem(tuner._LARGEST_AT_ONCE, "cpu", 1000)
    served.choose([(whole(served), 10**7)])
    assert "batched would hold" in served.why
