"""Memory that runs out costs time, never the work: smaller micro-batches, and the same numbers."""

import pytest
import torch
from cases import cases, seeded

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.containers import num_samples
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines.catalogue import engine_kind
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.out_of_memory import ShrinkableBatches, retried
from hessent.curvature.problem import Problem
from hessent.errors import ComputationError, UsageError, memory_ran_out

CASE = next(iter(cases()))


def problem(*sizes):
    made = Problem(seeded(CASE.model), CASE.loss, CASE.batches(*sizes), dtype=torch.float64)
    made.measure_loss()
    return made


def whole(made):
    return resolve_blocks(made.model, made.parameters, ["full"], full=True)[0]


@pytest.fixture
def room_for(monkeypatch):
    """Let gradient graphs of more than so many samples run out of memory; returns the sizes that were tried."""
    build, tried = DoubleBackward.__init__, []

    def allow(most, error=None):
        def limited(self, made, inputs, targets, **options):
            tried.append(num_samples(inputs))
            if num_samples(inputs) > most:
                raise error or torch.OutOfMemoryError("CUDA out of memory")
            build(self, made, inputs, targets, **options)

        monkeypatch.setattr(DoubleBackward, "__init__", limited)
        return tried

    return allow


@pytest.mark.parametrize("engine", ["auto", "retained", "lockstep", "batched"])
def test_smaller_micro_batches_give_the_same_product_and_a_note(room_for, engine):
    made = problem(9)
    block = whole(made)
    V = torch.randn(block.size, 3, dtype=torch.float64)
    expected = HessianEngine(made, memory=2**30).operator(block).matmat(V)
    room_for(2)
    notes = []
    served = HessianEngine(made, memory=2**30, engine=engine, notify=notes.append)
    served.choose([(block, 100)])
    found = served.operator(block).matmat(V)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert any("at most 2 samples" in note for note in notes)


def test_memory_that_runs_out_in_the_middle_of_a_run_drops_kept_graphs_first(room_for, monkeypatch):
    made = problem(4, 4, 1)
    block = whole(made)
    notes = []
    served = HessianEngine(made, memory=2**30, engine="retained", num_groups=2, notify=notes.append)
    V = torch.randn(block.size, 2, dtype=torch.float64)
    expected = served.operator(block).product(V)
    assert served.keeps_graphs
    multiply, calls = DoubleBackward.products, []

    def fails_once(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return multiply(self, *arguments)

    monkeypatch.setattr(DoubleBackward, "products", fails_once)
    found = served.operator(block).product(V)
    assert torch.allclose(found.total, expected.total, rtol=1e-12)
    assert torch.allclose(found.groups, expected.groups, rtol=1e-12)
    assert notes == ["memory ran out: gradient graphs are rebuilt on every pass"]
    assert not served.keeps_graphs
    assert served.engine == "lockstep"


def test_a_single_sample_that_does_not_fit_is_an_error_that_says_so(room_for):
    tried = room_for(0)
    with pytest.raises(ComputationError, match="a single sample"):
        HessianEngine(problem(9), memory=2**30)
    assert sorted(set(tried)) == [1, 2, 3, 5, 9]


def test_other_errors_are_not_taken_for_exhausted_memory(room_for):
    room_for(0, error=RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        HessianEngine(problem(9), memory=2**30)


def test_what_counts_as_exhausted_memory():
    assert memory_ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert memory_ran_out(MemoryError())
    assert not memory_ran_out(ValueError("not enough memory"))
    with pytest.raises(ZeroDivisionError):
        retried(lambda: 1 / 0, lambda: None)


def test_shrunk_batches_hold_the_same_samples_in_order():
    x, y = torch.arange(10), torch.arange(10) * 2
    batches = ShrinkableBatches([(x[:7], y[:7]), (x[7:], y[7:])])
    assert [len(inputs) for inputs, _ in batches] == [7, 3]
    assert batches.halve() == 4
    assert [len(inputs) for inputs, _ in batches] == [4, 3, 3]
    assert batches.halve() == 2
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), x)
    assert torch.equal(torch.cat([targets for _, targets in batches]), y)
    assert batches.halve() == 1
    with pytest.raises(ComputationError):
        batches.halve()


class TestLoss:
    @pytest.fixture
    def narrow(self, monkeypatch):
        """Let forward passes of more than so many samples run out of memory."""

        def allow(most):
            outputs = Problem.outputs

            def limited(self, inputs):
                if num_samples(inputs) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return outputs(self, inputs)

            monkeypatch.setattr(Problem, "outputs", limited)

        return allow

    def test_smaller_micro_batches_give_the_same_loss_and_stay(self, narrow):
        expected = problem(9)
        narrow(2)
        found = problem(9)
        assert found.loss_value == pytest.approx(expected.loss_value, rel=1e-12)
        assert (found.num_items, found.num_samples) == (expected.num_items, expected.num_samples)
        assert [num_samples(inputs) for inputs, _ in found.micro_batches()] == [2, 2, 2, 2, 1]

    def test_it_is_told_as_soon_as_somebody_listens(self, narrow):
        narrow(2)
        served = HessianEngine(problem(9), memory=2**30)
        notes, others = [], []
        served.notify = notes.append
        assert notes == ["memory ran out: going on with micro-batches of at most 2 samples"]
        served.notify = others.append
        assert others == []

    def test_a_single_sample_that_does_not_fit_is_an_error_that_says_so(self, narrow):
        narrow(0)
        with pytest.raises(ComputationError, match="a single sample"):
            problem(9)


class TestBuilding:
    """An engine that takes many graphs for a moment while it is built, asked for by name."""

    def graphs(self, made, samples):
        """Bytes of the gradient graph of the first samples, as the engine counts them."""
        first = made.with_batches([next(iter(CASE.batches(samples, 9 - samples)))])
        first.num_samples = samples
        return HessianEngine(first, memory=2**40, engine="retained").graph_bytes

    def test_micro_batches_are_so_small_that_it_stays_within_memory(self):
        made = problem(9)
        block = whole(made)
        V = torch.randn(block.size, 2, dtype=torch.float64)
        expected = HessianEngine(made, memory=2**30).operator(block).matmat(V)
        kind, notes = engine_kind("linearized"), []
        memory = int(kind.kept_over_graph * self.graphs(made, 9) + kind.building_over_graph * self.graphs(made, 3))
        served = HessianEngine(made, memory=memory, engine="linearized", notify=notes.append)
        assert [num_samples(inputs) for inputs, _ in served.problem.micro_batches()] == [3, 3, 3]
        assert served.keeps_graphs
        assert notes[-1] == "linearized is built within memory: micro-batches of at most 3 samples"
        assert torch.allclose(served.operator(block).matmat(V), expected, rtol=1e-12, atol=1e-14)

    def test_where_that_does_not_suffice_nothing_is_kept(self):
        made, kind, notes = problem(9), engine_kind("linearized"), []
        together = kind.kept_over_graph * self.graphs(made, 9) + kind.building_over_graph * self.graphs(made, 1)
        memory = int(0.99 * together)
        served = HessianEngine(made, memory=memory, engine="linearized", notify=notes.append)
        assert not served.keeps_graphs
        assert "anew on every pass" in notes[-1]

    def test_a_single_sample_that_does_not_fit_is_refused(self):
        made = problem(9)
        memory = int(engine_kind("linearized").building_over_graph * self.graphs(made, 1)) - 1
        with pytest.raises(UsageError, match=r"linearized takes about .* for a single sample"):
            HessianEngine(made, memory=memory, engine="linearized")

    def test_with_room_enough_nothing_is_cut(self):
        notes = []
        served = HessianEngine(problem(9), memory=2**30, engine="linearized", notify=notes.append)
        assert [num_samples(inputs) for inputs, _ in served.problem.micro_batches()] == [9]
        assert notes == []
