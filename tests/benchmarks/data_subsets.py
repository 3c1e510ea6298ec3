"""Random subsets of a trained net's data: what the population intervals and the free jackknife are held against.

Each subset of N images is cut into groups; the groups' dense Hessians give the operator, and the matrices without
each group give the true delete-a-group jackknife of every measure by dense eigenvalue problems.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.spectra_generator import of_eigenvalues
from exact_nets import dense_hessian, trained, training_images
from numpy.typing import NDArray
from torch import Tensor, nn

from hessent.curvature.operator import Product, SymmetricOperator
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import answer
from hessent.eigensolver.settings import SolverSettings
from hessent.measures.population import DataErrors
from hessent.measures.registry import compute_measures

Float64Array = NDArray[np.float64]

MEASURES = ("trace", "abs_trace", "lambda_max", "entropy_gap")
GROUPS = 4


@dataclass(frozen=True)
class Subset:
    """What one subset of the data says of the whole.

    Attributes
    ----------
    held : dict of str to bool
        Whether the population interval held the measure of the full data.
    error : dict of str to float
        Standard error by the free jackknife.
    true_error : dict of str to float
        Standard error by the jackknife of the dense matrices.
    """

    held: dict[str, bool]
    error: dict[str, float]
    true_error: dict[str, float]


class GroupedOperator(SymmetricOperator):
    """The mean of dense group matrices (g, n, n), which also tells what each contributes."""

    def __init__(self, groups: Float64Array) -> None:
        self.groups = torch.as_tensor(groups)
        self.total = self.groups.mean(dim=0)
        self.size, self.dtype, self.device = len(self.total), torch.float64, torch.device("cpu")
        self.name, self.num_matvecs = "grouped", 0

    def _multiply(self, V: Tensor) -> Tensor:
        return self.total @ V

    def _divided_product(self, V: Tensor) -> Product:
        return Product(self._multiply(V), self.groups @ V)


@functools.cache
def full_truth() -> dict[str, float]:
    """Return every measure of the small net's Hessian over all training images."""
    return of(dense_hessian(_model(), *training_images()))


@functools.cache
def _model() -> nn.Module:
    return trained("small")[0]


def of(matrix: Float64Array) -> dict[str, float]:
    """Return the measures of a dense matrix."""
    return of_eigenvalues("dense", np.linalg.eigvalsh(matrix)).truth(0.0)


def subset(seed: int, samples: int, budget: int) -> Subset:
    """Draw a subset of the small net's data, solve on it with `budget` products, and compare."""
    inputs, targets = training_images()
    chosen = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1000 + seed))[:samples]
    parts = chosen.reshape(GROUPS, -1)
    groups = np.array([dense_hessian(_model(), inputs[part], targets[part], chunk=128) for part in parts])
    items = np.full(GROUPS, samples // GROUPS)
    operator = GroupedOperator(groups)
    solver = BlockSolver(
        "block",
        ("weight",),
        operator.size,
        SolverSettings(method="lanczos", max_matvecs=budget, rtol=0.0, seed=seed),
        dtype=torch.float64,
        device="cpu",
        group_items=items,
        sampled_fraction=samples / len(inputs),
    )
    answer(solver.finish(), operator)
    assert solver.spectrum is not None
    measures, errors = compute_measures(solver.spectrum), DataErrors(solver.spectrum)
    true_error = dense_jackknife(groups, samples / len(inputs))
    held, error = {}, {}
    for name in MEASURES:
        population, found = measures[name].population, errors.of(name)
        assert population is not None
        assert population.low is not None
        assert population.high is not None
        assert found is not None
        held[name] = population.low <= full_truth()[name] <= population.high
        error[name] = found.error
    return Subset(held, error, true_error)


def dense_jackknife(groups: Float64Array, sampled_fraction: float) -> dict[str, float]:
    """Return the standard errors of the delete-a-group jackknife for groups (g, n, n) of equal size."""
    count = len(groups)
    left_out = [of((groups.sum(axis=0) - group) / (count - 1)) for group in groups]
    values = {name: np.array([one[name] for one in left_out]) for name in MEASURES}
    unseen = (1 - sampled_fraction) * (count - 1)
    return {name: float(np.sqrt(unseen * numbers.var())) for name, numbers in values.items()}
