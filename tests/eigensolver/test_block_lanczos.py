"""The joint Krylov space of several probes against dense linear algebra, and what is read from it."""

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like, tolerance
from small_matrices import MatrixOperator, dense_lanczos, solve, solver_for, spectral_weights

from hessent.curvature.operator import Product
from hessent.eigensolver.block_lanczos import BlockLanczos
from hessent.eigensolver.joint_space import joint_spectrum
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import answer
from hessent.measures.quadrature import gauss_rules
from hessent.measures.registry import compute_measures


def space_of(operator, probes=4, steps=10, *, dtype=torch.float64, group_steps=0, starts=None):
    if starts is None:
        starts = gaussian_vectors(operator.size, probes, seed=0, key="test")
    space = BlockLanczos(starts, dtype=dtype, group_steps=group_steps)
    answer(space.extend(steps), operator)
    return space


def read(space, operator):
    return joint_spectrum(space.matrix, space.coupling, space.starts, size=operator.size, num_steps=space.num_steps)


class Recorded(MatrixOperator):
    """Remembers every column it was asked to multiply, as rows of `asked`."""

    def __init__(self, matrix):
        super().__init__(matrix)
        self.asked = torch.zeros(0, self.size, dtype=torch.float64)

    def _multiply(self, V):
        self.asked = torch.cat([self.asked, V.T.double()])
        return super()._multiply(V)


@pytest.mark.parametrize(("dtype", "steps"), [(torch.float64, 10), (torch.float64, 40), (torch.float32, 25)])
def test_the_basis_is_orthonormal_and_t_is_the_matrix_in_it(dtype, steps):
    operator = Recorded(DenseOperator(network_like(200)).matrix)
    space = space_of(operator, steps=steps, dtype=dtype)
    rows = operator.asked
    bar = tolerance(dtype) / 100
    assert float((rows @ rows.T - torch.eye(len(rows))).abs().max()) <= bar
    projected = (rows @ operator.matrix @ rows.T).numpy()
    scale = np.abs(operator.eigenvalues).max()
    assert np.abs(space.matrix - projected).max() <= bar * scale
    # H Q − Q T lies outside the space, and its size is the coupling's.
    outside = (operator.matrix @ rows.T).numpy() - rows.T.numpy() @ space.matrix
    assert np.linalg.norm(outside, axis=0) == pytest.approx(np.linalg.norm(space.coupling, axis=0), abs=bar * scale)


def test_residuals_are_those_of_the_ritz_vectors():
    operator = Recorded(DenseOperator(network_like(150)).matrix)
    space = space_of(operator, steps=12)
    found = read(space, operator)
    vectors = operator.asked.T.numpy() @ found.outlier_vectors
    values = found.outliers.values
    actual = np.linalg.norm(operator.matrix.numpy() @ vectors - vectors * values, axis=0)
    assert len(values) >= 10
    assert found.outliers.residuals == pytest.approx(actual, abs=1e-9)
    assert (actual <= 1e-2 * np.abs(values) * (1 + 1e-9)).all()


def test_probes_beside_exact_eigenvectors_are_lanczos_runs_in_their_complement():
    # Deflating costs the last steps their exactness, while outliers converge; the first are those of a dense run.
    values = np.r_[200.0, 150.0, 100.0, 80.0, np.random.default_rng(0).uniform(0.5, 1.5, 196)]
    operator = DenseOperator(values)
    starts = gaussian_vectors(200, 3, seed=1, key="test")
    found = read(space_of(operator, steps=24, starts=starts), operator)
    assert found.outliers.values[-4:] == pytest.approx([80.0, 100.0, 150.0, 200.0])
    assert len(found.outliers.values) == 4
    rest = operator.eigenvalues < 50.0
    for probe, start in enumerate(starts.numpy()):
        components = operator.eigenvectors.numpy().T @ start
        alphas, betas, _ = dense_lanczos(operator.eigenvalues[rest], components[rest], 12)
        assert found.runs.alphas[probe, :12] == pytest.approx(alphas, rel=1e-6)
        assert found.runs.betas[probe, :12] == pytest.approx(betas, rel=1e-6)


def test_a_block_goes_on_narrower_where_it_loses_rank_and_ends_where_nothing_is_left():
    operator = DenseOperator(np.r_[np.zeros(94), 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    space = space_of(operator, probes=4, steps=50)
    assert space.closed
    assert 4 + 6 <= operator.num_matvecs == len(space.matrix) <= 4 + 6 + 2  # rounding may add a direction
    found = read(space, operator)
    assert found.outliers.values == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], rel=1e-10)
    assert found.whole
    assert gauss_rules(found.runs, found.runs.num_steps)[0].nodes == pytest.approx([0.0], abs=1e-12)


@pytest.mark.parametrize("copies", [5, 16, 60])
def test_more_copies_than_probes_stay_with_the_probes_and_do_not_bias_the_trace(copies):
    values = np.r_[np.full(copies, 10.0), 30.0, np.linspace(0.1, 1.0, 200)]
    operator = DenseOperator(values)
    errors = []
    for seed in range(24):
        starts = gaussian_vectors(operator.size, 4, seed=seed, key="test")
        space = BlockLanczos(starts, dtype=torch.float64, group_steps=0)
        answer(space.extend(12), operator)
        found = read(space, operator)
        assert not found.whole
        assert found.outliers.values[-1] == pytest.approx(30.0)
        assert not (np.abs(found.outliers.values - 10.0) < 0.1).any()
        dimension = operator.size - len(found.outliers.values)
        errors.append(found.outliers.values.sum() + dimension * found.runs.alphas[:, 0].mean() - values.sum())
    assert abs(np.mean(errors)) <= 3.5 * np.std(errors, ddof=1) / np.sqrt(len(errors))


def test_weights_of_an_undeflated_probe_are_its_squared_components():
    operator = DenseOperator(np.repeat([1.0, 2.0, 5.0], 20))
    starts = gaussian_vectors(60, 2, seed=0, key="test")
    found = read(space_of(operator, steps=5, starts=starts), operator)
    for rule, start in zip(gauss_rules(found.runs, found.runs.num_steps), starts.numpy(), strict=True):
        masses = spectral_weights(operator.eigenvectors.numpy(), start).reshape(3, 20).sum(axis=1)
        assert rule.nodes == pytest.approx([1.0, 2.0, 5.0], rel=1e-9)
        assert rule.weights == pytest.approx(masses, rel=1e-9)


class Grouped(MatrixOperator):
    """A mean of three groups' matrices."""

    def __init__(self, groups):
        self.groups = torch.as_tensor(np.array(groups), dtype=torch.float64)
        super().__init__(self.groups.mean(dim=0))

    def product(self, V):
        self.num_matvecs += V.shape[1]
        return Product(self.matrix @ V, self.groups @ V)


def random_groups(size, count=3):
    rng = np.random.default_rng(0)
    return [(lambda A: A @ A.T / size)(rng.standard_normal((size, size // 2))) for _ in range(count)]


def test_group_projections_are_the_groups_matrices_in_the_spaces_of_outliers_and_probes():
    operator = Grouped(random_groups(80))
    asked = Recorded(operator.matrix)
    starts = gaussian_vectors(80, 3, seed=0, key="test")
    space_of(asked, steps=6, starts=starts)
    space = space_of(operator, steps=6, starts=starts, group_steps=4)
    rows = asked.asked[: space.groups.shape[1]].numpy()
    assert len(rows) == 12
    assert space.groups == pytest.approx(rows @ operator.groups.numpy() @ rows.T, abs=1e-10)


@pytest.mark.parametrize("steps", [20, 60])
@pytest.mark.parametrize("memory", [2**30, 8 * 310 * 120])
def test_groups_of_a_sampled_block_average_to_the_block_itself(steps, memory):
    operator = Grouped(random_groups(120))
    items = np.array([5, 5, 5])
    solver = solver_for(operator, num_probes=2, num_steps=steps, basis_memory=memory, group_items=items)
    answer(solver.finish(), operator)
    groups = solver.spectrum.groups
    assert groups.num_groups == 3
    whole = groups.probes.mean(axis=0)
    for probe, projected in enumerate(whole):
        length = min(len(projected), solver.spectrum.probes.num_steps)
        if steps == 20:  # the space of the groups is the whole one
            assert np.diag(projected)[:length] == pytest.approx(
                solver.spectrum.probes.alphas[probe, :length], abs=1e-6
            )
    if steps == 20:
        values = np.linalg.eigvalsh(groups.outliers.mean(axis=0))
        assert values == pytest.approx(solver.spectrum.outliers.values, rel=1e-3)


def test_making_the_space_larger_is_the_same_as_making_it_large_at_once():
    operator = DenseOperator(network_like(150))
    starts = gaussian_vectors(150, 4, seed=0, key="test")
    grown = space_of(operator, steps=5, starts=starts)
    answer(grown.extend(7), operator)
    at_once = space_of(operator, steps=12, starts=starts)
    np.testing.assert_array_equal(grown.matrix, at_once.matrix)
    np.testing.assert_array_equal(grown.coupling, at_once.coupling)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_float32_spaces_survive_any_scale(scale):
    operator = DenseOperator(scale * network_like(120), dtype=torch.float32)
    block = solve(operator, dtype=torch.float32, max_matvecs=100).spectrum
    reference = solve(DenseOperator(network_like(120)), max_matvecs=100).spectrum
    mine, others = compute_measures(block), compute_measures(reference)
    assert mine["entropy_gap"].value == pytest.approx(others["entropy_gap"].value, rel=1e-3)
    assert mine["trace"].value == pytest.approx(scale * others["trace"].value, rel=1e-3)


class Diagonal(Recorded):
    """A diagonal matrix in float32; Gaussian vectors see nothing special in it."""

    def __init__(self, eigenvalues):
        self.diagonal = torch.as_tensor(eigenvalues, dtype=torch.float32)[:, None]
        self.size, self.dtype, self.device = len(eigenvalues), torch.float32, torch.device("cpu")
        self.name, self.num_matvecs = "diagonal", 0
        self.asked = torch.zeros(0, self.size, dtype=torch.float64)

    def _multiply(self, V):
        self.asked = torch.cat([self.asked, V.T.double()])
        return (self.diagonal * V.float()).to(V.dtype)


def test_long_float32_vectors_stay_orthogonal_beside_outliers_hundreds_of_times_the_bulk():
    # With one pass of orthogonalisation, or sums in float32, this loses all orthogonality within some forty steps.
    rng = np.random.default_rng(0)
    values = 10.0 ** rng.uniform(-6, 0, 25_000) * np.where(rng.random(25_000) < 0.3, -0.3, 1.0)
    values[:30] = np.geomspace(500.0, 2.0, 30)
    operator = Diagonal(values)
    space = space_of(operator, steps=75, dtype=torch.float32)
    rows = operator.asked
    assert float((rows @ rows.T - torch.eye(len(rows))).abs().max()) <= 2e-6
    found = read(space, operator)
    assert found.outliers.values[-15:] == pytest.approx(np.sort(values)[-15:], rel=1e-5)
