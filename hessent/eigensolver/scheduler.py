"""Running the solvers of all blocks against one engine.

Where gradient graphs are kept between passes, one block advances at a time: always the one with the widest
interval, until it has published a better spectrum.  Where every pass rebuilds the graphs, all solvers advance
together, so that one pass over the data serves every block.  Between passes the caller may stop the work; what was
published until then stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hessent.curvature.operator import Product
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import Products
from hessent.errors import NonFiniteError

Requests = Sequence[tuple[BlockSolver, Tensor]]
Multiply = Callable[[Requests], list[Product]]


def run_solvers(
    solvers: Sequence[BlockSolver],
    stage: Callable[[BlockSolver], Products[None]],
    multiply: Multiply,
    *,
    together: bool,
    should_stop: Callable[[], bool],
    progress: Callable[[BlockSolver, int], None],
    refined: Callable[[BlockSolver], None],
) -> bool:
    """Run one stage of every solver.

    Parameters
    ----------
    solvers : sequence of BlockSolver
        Those of equal need are worked on in this order.
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
    refined : callable
        Told the solver each time it has published a better spectrum.

    Returns
    -------
    bool
        False if the work was stopped.

    Raises
    ------
    NonFiniteError
        If a product holds NaN or infinity; names block and product.
    """
    running = {solver: stage(solver) for solver in solvers}
    waiting: dict[BlockSolver, Tensor] = {}
    for solver in list(running):
        _advance(solver, running, waiting, None)
    chosen: BlockSolver | None = None
    while waiting:
        if should_stop():
            for generator in running.values():
                generator.close()
            return False
        if chosen not in waiting:
            chosen = widest_first(list(waiting))[0]
        requests = list(waiting.items()) if together else [(chosen, waiting[chosen])]
        products = multiply(requests)
        for (solver, columns), product in zip(requests, products, strict=True):
            _refuse_non_finite(solver, product)
            progress(solver, columns.shape[1])
            before = solver.spectrum
            del waiting[solver]
            _advance(solver, running, waiting, product)
            if solver.spectrum is not before:
                refined(solver)
                chosen = None
    return True


def _advance(
    solver: BlockSolver,
    running: dict[BlockSolver, Products[None]],
    waiting: dict[BlockSolver, Tensor],
    product: Product | None,
) -> None:
    """Send a product to a solver and note what it asks for next; forget it when it has finished."""
    try:
        waiting[solver] = next(running[solver]) if product is None else running[solver].send(product)
    except StopIteration:
        del running[solver]


def _refuse_non_finite(solver: BlockSolver, product: Product) -> None:
    if not bool(torch.isfinite(product.total).all()):
        raise NonFiniteError(
            f"a product with block '{solver.name}' is not finite",
            expected="finite second derivatives at the checkpoint's weights",
            fix="--dtype float64, or look for overflow in the model's activations",
        )


def widest_first(solvers: Sequence[BlockSolver]) -> list[BlockSolver]:
    """Order solvers by how much they have to gain: unknown blocks, then falling relative half-width."""
    return sorted(solvers, key=lambda solver: solver.width, reverse=True)
