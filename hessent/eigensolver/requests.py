"""How a solver asks for products.

A solver is a generator: it yields the columns V (n, k) it needs multiplied and is sent the `Product` back: H V, and
what each group of the data contributes to it. It does not know who multiplies. So one pass over the data can serve
the solvers of all blocks, and a test can serve a solver from a dense matrix.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from torch import Tensor

from hessent.curvature.operator import Product, SymmetricOperator

Result = TypeVar("Result")
Products = Generator[Tensor, Product, Result]


def answer(solver: Products[Result], operator: SymmetricOperator) -> Result:
    """Run a solver to its end with products of `operator`.

    Parameters
    ----------
    solver : generator
        Yields columns (n, k), receives their `Product`.
    operator : SymmetricOperator
        Who multiplies.

    Returns
    -------
    Result
        What the solver returns.
    """
    try:
        columns = next(solver)
        while True:
            columns = solver.send(operator.product(columns))
    except StopIteration as finished:
        result: Result = finished.value
        return result
