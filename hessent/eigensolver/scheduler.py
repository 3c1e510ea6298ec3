"""Running the solvers of all blocks against one engine.

Where gradient graphs are kept between passes, blocks are solved one after the other.  Where every pass rebuilds
them, all solvers advance together, so that one pass over the data serves every block.  Between passes the caller
may stop the work; what was published until then stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import Products
from hessent.eigensolver.widths import widths
from hessent.errors import NonFiniteError

Requests = Sequence[tuple[BlockSolver, Tensor]]
Multiply = Callable[[Requests], list[Tensor]]


def run_solvers(
    solvers: Sequence[BlockSolver],
    stage: Callable[[BlockSolver], Products[None]],
    multiply: Multiply,
    *,
    together: bool,
    should_stop: Callable[[], bool],
    progress: Callable[[BlockSolver, int], None],
) -> bool:
    """Run one stage of every solver.

    Parameters
    ----------
    solvers : sequence of BlockSolver
        In the order in which they are to be worked on.
    stage : callable
        Returns a solver's generator: its first look, or its refinement.
    multiply : callable
        Answers requests (solver, columns) from one pass over the data.
    together : bool
        Whether all solvers advance at once.
    should_stop : callable
        Asked before every pass.
    progress : callable
        Told the solver and the number of products after every pass.

    Returns
    -------
    bool
        False if the work was stopped.

    Raises
    ------
    NonFiniteError
        If a product holds NaN or infinity; names block and product.
    """
    groups = [list(solvers)] if together else [[solver] for solver in solvers]
    return all(_run_group(group, stage, multiply, should_stop, progress) for group in groups)


def _run_group(
    group: Sequence[BlockSolver],
    stage: Callable[[BlockSolver], Products[None]],
    multiply: Multiply,
    should_stop: Callable[[], bool],
    progress: Callable[[BlockSolver, int], None],
) -> bool:
    running = {solver: stage(solver) for solver in group}
    waiting: dict[BlockSolver, Tensor] = {}
    for solver in list(running):
        _advance(solver, running, waiting, None)
    while waiting:
        if should_stop():
            for generator in running.values():
                generator.close()
            return False
        requests = list(waiting.items())
        products = multiply(requests)
        waiting = {}
        for (solver, columns), product in zip(requests, products, strict=True):
            if not bool(torch.isfinite(product).all()):
                raise NonFiniteError(
                    f"a product with block '{solver.name}' is not finite",
                    expected="finite second derivatives at the checkpoint's weights",
                    fix="--dtype float64, or look for overflow in the model's activations",
                )
            progress(solver, columns.shape[1])
            _advance(solver, running, waiting, product)
    return True


def _advance(
    solver: BlockSolver,
    running: dict[BlockSolver, Products[None]],
    waiting: dict[BlockSolver, Tensor],
    product: Tensor | None,
) -> None:
    """Send a product to a solver and note what it asks for next; forget it when it has finished."""
    try:
        waiting[solver] = next(running[solver]) if product is None else running[solver].send(product)
    except StopIteration:
        del running[solver]


def widest_first(solvers: Sequence[BlockSolver]) -> list[BlockSolver]:
    """Order solvers by how much they have to gain: unknown blocks, then falling relative half-width."""

    def remaining(solver: BlockSolver) -> float:
        if solver.spectrum is None:
            return float("inf")
        return 0.0 if solver.spectrum.converged else widths(solver.spectrum).total

    return sorted(solvers, key=remaining, reverse=True)
