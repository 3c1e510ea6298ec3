"""Several blocks against one engine: who goes on first, who is told, and what a stop leaves."""

import itertools
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like
from small_matrices import solver_for

from hessent.curvature.operator import Product
from hessent.eigensolver import scheduler
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.scheduler import Turns, longest_first, run_solvers, widest_first
from hessent.errors import NonFiniteError


class Engine:
    """Answers the requests of several blocks, and remembers which blocks each pass served."""

    def __init__(self, **operators):
        self.operators = operators
        self.passes = []
        self.refined = []

    def solvers(self, **settings):
        return [solver_for(operator, name=name, **settings) for name, operator in self.operators.items()]

    def multiply(self, requests):
        self.passes.append([solver.name for solver, _ in requests])
        return [self.operators[solver.name].product(columns) for solver, columns in requests]

    def run(self, solvers, stage, *, together=False, should_stop=lambda: False, workers=None, turns=None):
        return run_solvers(
            solvers,
            stage,
            self.multiply,
            together=together,
            should_stop=should_stop,
            progress=lambda solver, matvecs: None,
            refined=lambda solver: self.refined.append(solver.name),
            workers=workers,
            turns=turns,
        )


def engine():
    return Engine(
        flat=DenseOperator(np.linspace(1.0, 2.0, 200)),
        network=DenseOperator(network_like(400, seed=1)),
        power=DenseOperator(1.0 / np.arange(1, 301)),
    )


def test_the_widest_block_goes_on_first_until_it_has_published():
    served = engine()
    solvers = served.solvers(rtol=0.02)
    assert served.run(solvers, BlockSolver.first_look)
    widths = {solver.name: solver.width for solver in solvers}
    start, told = len(served.passes), len(served.refined)
    assert served.run(solvers, BlockSolver.finish)
    order = [block for served_now in served.passes[start:] for block in served_now]
    assert order[0] == max(widths, key=widths.get)
    # A block is not left before it has a better spectrum: as many turns as publications, or fewer.
    turns = 1 + sum(a != b for a, b in itertools.pairwise(order))
    assert turns <= len(served.refined[told:])
    assert all(solver.spectrum.converged for solver in solvers)
    assert [solver.width for solver in solvers] == [0.0, 0.0, 0.0]


class Leaving(Turns):
    """Remembers who gave way, and that it could be saved then."""

    def __init__(self):
        self.names = []

    def left(self, solver):
        assert solver.saved_state() is not None
        self.names.append(solver.name)


def test_a_block_that_gives_way_unfinished_is_told_so():
    served = Engine(**{f"net{i}": DenseOperator(network_like(3000, seed=i)) for i in range(3)})
    turns, solvers = Leaving(), served.solvers(rtol=0.005)
    served.run(solvers, BlockSolver.first_look)
    start = len(served.passes)
    served.run(solvers, BlockSolver.finish, turns=turns)
    order = [block for served_now in served.passes[start:] for block in served_now]
    changes = [(a, order[i + 1 :]) for i, (a, b) in enumerate(itertools.pairwise(order)) if a != b]
    assert turns.names == [name for name, later in changes if name in later]
    assert turns.names


class OneBehind(Executor):
    """Finishes what it was given when it is given the next, or when somebody would wait for it."""

    def __init__(self):
        self.left = []

    def submit(self, work, /, *arguments):
        future = Future()
        self.finish()
        self.left.append((future, work, arguments))
        return future

    def finish(self):
        while self.left:
            future, work, arguments = self.left.pop()
            future.set_result(work(*arguments))


def test_the_block_with_most_left_to_do_fills_the_time_of_anothers_step(monkeypatch):
    workers = OneBehind()
    monkeypatch.setattr(scheduler, "wait", lambda *futures, **options: workers.finish())
    served = Engine(
        small=DenseOperator(network_like(200, seed=1)),
        large=DenseOperator(network_like(400, seed=1)),
        middle=DenseOperator(network_like(300, seed=1)),
    )
    solvers = served.solvers(rtol=0.02)
    assert longest_first(solvers)[0].name == "large"
    assert served.run(solvers, BlockSolver.first_look, workers=workers)
    start = len(served.passes)
    for solver in solvers:
        solver.width = {"small": 3.0, "middle": 2.0, "large": 1.0}[solver.name]
    assert served.run(solvers, BlockSolver.finish, workers=workers)
    first, second, *_ = (block for served_now in served.passes[start:] for block in served_now)
    assert [first, second] == ["small", "large"]


def test_together_every_pass_serves_all_that_are_not_finished():
    served = engine()
    solvers = served.solvers(rtol=0.05)
    served.run(solvers, BlockSolver.first_look, together=True)
    assert all(len(blocks) == 3 for blocks in served.passes)
    served.run(solvers, BlockSolver.finish, together=True)
    alone = engine()
    others = alone.solvers(rtol=0.05)
    alone.run(others, BlockSolver.first_look)
    alone.run(others, BlockSolver.finish)
    for one, other in zip(solvers, others, strict=True):
        np.testing.assert_array_equal(one.spectrum.probes.alphas, other.spectrum.probes.alphas)


def test_a_stop_leaves_the_latest_spectrum_of_every_block():
    served = engine()
    solvers = served.solvers(rtol=0.001)
    served.run(solvers, BlockSolver.first_look)
    looks = [solver.spectrum for solver in solvers]
    assert not served.run(solvers, BlockSolver.finish, should_stop=lambda: len(served.passes) > 65)
    assert all(solver.spectrum is not None for solver in solvers)
    assert any(solver.spectrum is not look for solver, look in zip(solvers, looks, strict=True))


def test_unknown_blocks_come_before_wide_ones_and_finished_ones_last():
    served = engine()
    flat, network, power = served.solvers(rtol=0.5)
    served.run([flat, power], BlockSolver.first_look)
    served.run([flat], BlockSolver.finish)
    assert [solver.name for solver in widest_first([flat, power, network])] == ["network", "power", "flat"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_product_that_is_not_finite_names_the_block(bad):
    served = engine()
    solvers = served.solvers()
    true_multiply, count = served.multiply, [0]

    def multiply(requests):
        count[0] += 1
        products = true_multiply(requests)
        if count[0] == 7:
            spoilt = products[0].total.clone()
            spoilt[3, 0] = bad
            return [Product(spoilt), *products[1:]]
        return products

    served.multiply = multiply
    with pytest.raises(NonFiniteError, match="'flat'"):
        served.run(solvers, BlockSolver.first_look)
    assert torch.isfinite(served.operators["flat"].matrix).all()


@pytest.mark.parametrize("together", [False, True])
def test_work_in_another_thread_changes_no_number(together):
    plain, threaded = engine(), engine()
    solvers, others = plain.solvers(rtol=0.05), threaded.solvers(rtol=0.05)
    with ThreadPoolExecutor(1) as workers:
        for stage in (BlockSolver.first_look, BlockSolver.finish):
            assert plain.run(solvers, stage, together=together)
            assert threaded.run(others, stage, together=together, workers=workers)
    for one, other in zip(solvers, others, strict=True):
        assert one.spectrum.num_matvecs == other.spectrum.num_matvecs
        np.testing.assert_array_equal(one.spectrum.probes.alphas, other.spectrum.probes.alphas)
        np.testing.assert_array_equal(one.spectrum.outliers.values, other.spectrum.outliers.values)
    assert sorted(plain.refined) == sorted(threaded.refined)


def test_products_go_on_while_another_block_is_at_work():
    served = engine()
    solvers = served.solvers()
    multiplied = threading.Event()
    true_multiply = served.multiply

    def multiply(requests):
        if requests[0][0].name == "network":
            multiplied.set()
        return true_multiply(requests)

    def stage(solver):
        product = yield torch.ones(solver.size, 1, dtype=torch.float64)
        if solver.name == "flat":
            assert multiplied.wait(20)  # set by a product that comes while this one is at work
        del product

    served.multiply = multiply
    with ThreadPoolExecutor(1) as workers:
        assert served.run(solvers[:2], stage, workers=workers)
    assert served.passes[0] == ["flat"]


def test_a_solver_that_fails_at_work_ends_the_run_with_its_error():
    served = engine()

    def stage(solver):
        yield torch.ones(solver.size, 1, dtype=torch.float64)
        raise ValueError(f"{solver.name} failed")

    with ThreadPoolExecutor(1) as workers, pytest.raises(ValueError, match="failed"):
        served.run(served.solvers(), stage, workers=workers)
