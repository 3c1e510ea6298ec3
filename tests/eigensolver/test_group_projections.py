"""What data groups contribute to blocks formed whole, and to blocks sampled with few vectors."""

import numpy as np
import pytest
import torch
from small_matrices import MatrixOperator, solver_for

from hessent.curvature.operator import Product
from hessent.eigensolver.requests import answer

ITEMS = np.array([4, 10, 6])


class Grouped(MatrixOperator):
    """Σ n_G H_G / N of three random groups of a matrix with outliers."""

    def __init__(self, size):
        rng = np.random.default_rng(size)
        scales = np.r_[np.geomspace(8.0, 2.0, 20), np.full(size - 20, 0.1)]
        roots = [rng.standard_normal((size, size)) * np.sqrt(scales / size) for _ in ITEMS]
        basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
        self.groups = np.array([basis @ (root.T @ root) @ basis.T for root in roots])
        super().__init__(np.tensordot(ITEMS / ITEMS.sum(), self.groups, axes=1))
        self.parts = torch.as_tensor(self.groups)

    def product(self, V):
        self.num_matvecs += V.shape[1]
        return Product(self.matrix @ V, self.parts @ V)

    def without(self, group):
        rest = ITEMS.sum() - ITEMS[group]
        return (ITEMS.sum() * self.matrix.numpy() - ITEMS[group] * self.groups[group]) / rest


def finished(operator, **settings):
    solver = solver_for(operator, group_items=ITEMS, **settings)
    answer(solver.finish(), operator)
    return solver.spectrum


def test_small_exact_blocks_know_their_eigenvalues_without_each_group():
    operator = Grouped(60)
    block = finished(operator, method="exact")
    assert operator.num_matvecs == block.num_matvecs == 60  # the groups cost nothing
    for group, found in enumerate(block.groups.left_out):
        assert found == pytest.approx(np.linalg.eigvalsh(operator.without(group)), abs=1e-10)
    assert block.groups.traces == pytest.approx(np.trace(operator.groups, axis1=1, axis2=2))
    assert block.groups.items.tolist() == ITEMS.tolist()


def test_larger_exact_blocks_know_the_projections_on_orthonormal_spaces():
    operator = Grouped(520)
    block = finished(operator, method="exact")
    groups = block.groups
    assert groups.left_out is None
    # A projection of the whole has its eigenvalues; on the outliers it is diagonal up to their residuals.
    whole = np.tensordot(ITEMS / ITEMS.sum(), groups.outliers, axes=1)
    assert len(whole) >= 15
    largest = np.sort(np.abs(operator.eigenvalues))[-15:]
    assert np.sort(np.linalg.eigvalsh(whole))[-15:] == pytest.approx(largest, rel=1e-3)
    for probe in range(groups.probes.shape[1]):
        tridiagonal = np.tensordot(ITEMS / ITEMS.sum(), groups.probes[:, probe], axes=1)
        band = np.abs(np.subtract.outer(np.arange(len(tridiagonal)), np.arange(len(tridiagonal)))) <= 1
        assert np.abs(tridiagonal[~band]).max() <= 1e-8
    assert groups.traces == pytest.approx(np.trace(operator.groups, axis1=1, axis2=2))


def test_no_room_for_the_groups_matrices_means_no_groups_and_the_same_eigenvalues():
    operator = Grouped(60)
    block = finished(operator, method="exact", basis_memory=4 * 8 * 60**2)
    assert block.groups is None
    assert block.eigenvalues == pytest.approx(operator.eigenvalues, abs=1e-10)


@pytest.mark.parametrize("vectors", [200, 10_000])
def test_projections_of_a_sampled_block_sum_to_its_own_coefficients(vectors):
    operator = Grouped(300)
    block = finished(operator, num_probes=4, num_steps=20, basis_memory=8 * vectors * 300)
    shares = ITEMS / ITEMS.sum()
    assert np.linalg.eigvalsh(np.tensordot(shares, block.groups.outliers, axes=1)) == pytest.approx(
        block.outliers.values, rel=1e-3
    )
    for probe in range(4):
        whole = np.tensordot(shares, block.groups.probes[:, probe], axes=1)
        assert np.diag(whole) == pytest.approx(block.probes.alphas[probe], abs=1e-6)
        assert np.diag(whole, 1) == pytest.approx(block.probes.betas[probe], abs=1e-6)
