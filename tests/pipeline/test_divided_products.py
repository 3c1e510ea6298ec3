"""Products with and without the data groups, and the tolerance that a budget implies."""

from __future__ import annotations

import pytest
import torch
from cases import cases, dense_hessian, seeded

import hessent
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.measure import Measurement

CASE = next(case for case in cases() if case.name == "mlp, mse")


def measurement(graph_memory: int = 2**30, **accuracy: object) -> Measurement:
    problem = hessent.Problem(seeded(CASE.model), CASE.loss, CASE.batches(4, 4, 1), dtype=torch.float64)
    return Measurement(
        problem,
        specifications=["layer"],
        full=True,
        accuracy=Accuracy(**accuracy),
        seed=0,
        vector_memory=2**30,
        graph_memory=graph_memory,
    )


@pytest.mark.parametrize("graph_memory", [0, 2**30])
def test_products_that_need_no_groups_are_the_same_products(graph_memory):
    own = measurement(graph_memory)
    V = torch.randn(own.whole.size, 3, dtype=torch.float64)
    both = own.products.answer(
        [(own.whole, V, True), (own.blocks[0], V[: own.blocks[0].size], False), (own.whole, V, False)]
    )
    with_groups, block, without = both
    hessian, _ = dense_hessian(seeded(CASE.model), CASE.inputs, CASE.targets, CASE.mean_loss)
    assert with_groups.groups is not None
    assert without.groups is block.groups is None
    for product in (with_groups, without):
        assert torch.allclose(product.total, hessian @ V, rtol=1e-10, atol=1e-12)
    assert block.total.shape == (own.blocks[0].size, 3)
    assert own.products.undivided is not own.engine


def test_a_second_set_of_graphs_that_does_not_fit_is_not_made():
    first = measurement()
    own = measurement(first.engine.graph_bytes + 1)
    assert own.engine.keeps_graphs
    assert own.products.undivided is own.engine


def test_undivided_data_needs_no_second_engine():
    own = measurement(data_error=False)
    assert own.products.undivided is own.engine


@pytest.mark.parametrize(
    ("given", "tolerance"),
    [
        ({}, 0.05),
        ({"max_matvecs": 100}, 0.0),
        ({"max_matvecs": 100, "rtol": 0.1}, 0.1),
        ({"rtol": 0.0}, 0.0),
        ({"rtol": 0.2}, 0.2),
    ],
)
def test_a_budget_without_a_tolerance_is_spent(given, tolerance):
    accuracy = Accuracy(**given)
    assert accuracy.tolerance == accuracy.as_settings()["rtol"] == tolerance
    assert accuracy.solver_settings(seed=0, basis_memory=1).rtol == tolerance
