"""Small blocks: the matrix is formed from unit vectors and its eigenvalues are all there is to know."""

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like, tolerance
from small_matrices import solve, solver_for

from hessent.eigensolver.dense import FormingMatrix
from hessent.eigensolver.requests import answer
from hessent.eigensolver.settings import SolverSettings, is_exact
from hessent.measures.registry import compute_measures


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 150])
def test_the_exact_route_gives_the_eigenvalues(size):
    operator = DenseOperator(network_like(max(size, 12))[-size:])
    found = answer(FormingMatrix(size, device="cpu", keep_groups=False).form(), operator).eigenvalues()
    assert found == pytest.approx(operator.eigenvalues, abs=1e-12 * np.abs(operator.eigenvalues).max())
    assert operator.num_matvecs == size


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e4, 1e30])
def test_exact_eigenvalues_scale_with_the_matrix(scale):
    operator = DenseOperator(scale * network_like(50))
    found = answer(FormingMatrix(50, device="cpu", keep_groups=False).form(), operator).eigenvalues()
    assert found == pytest.approx(operator.eigenvalues, abs=1e-12 * scale * 200)


def test_float32_products_cost_float32_accuracy_alone():
    operator = DenseOperator(network_like(80), dtype=torch.float32)
    found = answer(FormingMatrix(80, device="cpu", keep_groups=False).form(), operator).eigenvalues()
    assert found == pytest.approx(operator.eigenvalues, abs=tolerance(torch.float32) * 200)


def test_a_small_block_is_exact_without_being_asked():
    operator = DenseOperator(network_like(90))
    solver = solve(operator, method="auto")
    block = solver.spectrum
    assert (block.method, block.status, block.converged) == ("exact", "exact", True)
    assert block.num_matvecs == operator.num_matvecs == 90
    assert block.outliers is block.probes is None
    assert compute_measures(block)["trace"].exact


def test_a_tiny_block_is_finished_by_its_first_look():
    operator = DenseOperator(network_like(60))
    solver = solver_for(operator, method="auto", spent=3)
    answer(solver.first_look(), operator)
    assert solver.spectrum.status == "exact"
    answer(solver.finish(), operator)
    assert operator.num_matvecs == 60
    assert solver.spectrum.num_matvecs == 63


@pytest.mark.parametrize(
    ("size", "spent", "settings", "exact"),
    [
        (2048, 0, {}, True),
        (2049, 0, {}, False),
        (100, 0, {"method": "lanczos"}, False),
        (5000, 0, {"method": "exact"}, True),
        (100, 0, {"exact_limit": 99}, False),
        (300, 0, {"max_matvecs": 300}, True),
        (300, 1, {"max_matvecs": 300}, False),
        (300, 0, {"max_matvecs": 299}, False),
        (100, 0, {"num_probes": 4, "num_steps": 40}, True),  # sampling would cost 210 products
        (1000, 0, {"num_probes": 4, "num_steps": 40}, False),
    ],
)
def test_a_block_is_exact_where_that_is_affordable_and_not_dearer(size, spent, settings, exact):
    assert is_exact(SolverSettings(**settings), size, spent) is exact
