"""The lockstep recurrence against dense tridiagonalisation, and the laws of its probes."""

import numpy as np
import pytest
import scipy.linalg
import torch
from oracles import DenseOperator, network_like
from small_matrices import MatrixOperator, dense_lanczos, spectral_weights, tridiagonal

from hessent.eigensolver.krylov_spaces import KrylovSpaces
from hessent.eigensolver.lanczos import LockstepLanczos
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import answer
from hessent.measures.quadrature import gauss_rules


def starts_of(operator, count=3):
    return gaussian_vectors(operator.size, count, seed=0, key="test")


def run(operator, steps, *, starts=None, outliers=None, dtype=torch.float64, keep_basis=True):
    group = LockstepLanczos(
        starts_of(operator) if starts is None else starts, outliers, dtype=dtype, keep_basis=keep_basis
    )
    answer(group.extend(steps), operator)
    return group


def requested(solver, operator):
    """Run a solver and return all columns it asked products for, as rows."""
    seen = []
    try:
        columns = next(solver)
        while True:
            seen.append(columns.T.clone())
            columns = solver.send(operator.product(columns))
    except StopIteration:
        return torch.stack(seen, dim=1)  # (p, m, n)


def all_betas(runs):
    return np.column_stack([runs.betas, runs.last_betas])


def test_coefficients_are_those_of_a_dense_tridiagonalisation():
    operator = DenseOperator(np.random.default_rng(0).uniform(-1, 3, 60))
    matrix = operator.matrix.numpy()
    starts = starts_of(operator)
    runs = run(operator, 25, starts=starts).runs()
    for probe, start in enumerate(starts.numpy()):
        # A basis that begins with the start vector; Householder reductions leave its first vector alone, and the
        # tridiagonal matrix is then unique up to signs of the betas.
        rest = np.random.default_rng(probe).standard_normal((60, 59))
        basis, _ = np.linalg.qr(np.column_stack([start, rest]))
        T = scipy.linalg.hessenberg(basis.T @ matrix @ basis)
        assert runs.alphas[probe] == pytest.approx(np.diag(T)[:25], abs=1e-9)
        assert all_betas(runs)[probe] == pytest.approx(np.abs(np.diag(T, 1))[:25], abs=1e-9)


@pytest.mark.parametrize("keep_basis", [True, False])
def test_probes_side_by_side_do_not_touch_each_other(keep_basis):
    operator = DenseOperator(network_like(80))
    starts, steps = starts_of(operator, 4), 15 if keep_basis else 8  # rounding grows where nothing is kept
    together = run(operator, steps, starts=starts, keep_basis=keep_basis).runs()
    for probe in range(4):
        alone = run(operator, steps, starts=starts[probe : probe + 1], keep_basis=keep_basis).runs()
        assert alone.alphas[0] == pytest.approx(together.alphas[probe], rel=1e-8, abs=1e-9)
        assert all_betas(alone)[0] == pytest.approx(all_betas(together)[probe], rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("keep_basis", [True, False])
def test_going_on_for_m_steps_is_the_same_as_running_2m_at_once(keep_basis):
    operator = DenseOperator(network_like(90))
    group = run(operator, 12, keep_basis=keep_basis)
    answer(group.extend(12), operator)
    at_once = run(operator, 24, keep_basis=keep_basis)
    np.testing.assert_array_equal(group.runs().alphas, at_once.runs().alphas)
    np.testing.assert_array_equal(all_betas(group.runs()), all_betas(at_once.runs()))
    assert group.num_matvecs == at_once.num_matvecs == 72
    assert group.num_steps == 24


def test_asked_vectors_are_orthonormal_and_orthogonal_to_the_outliers():
    operator = DenseOperator(network_like(120))
    outliers = operator.eigenvectors[:, np.argsort(-np.abs(network_like(120)))[:9]].T.contiguous()
    group = LockstepLanczos(starts_of(operator), outliers, dtype=torch.float64, keep_basis=True)
    rows = requested(group.extend(40), operator)
    assert rows.shape == (3, 40, 120)
    gram = rows @ rows.transpose(1, 2)
    assert float((gram - torch.eye(40)).abs().max()) < 1e-12
    assert float((rows @ outliers.T).abs().max()) < 1e-12


def test_without_a_kept_basis_the_outliers_stay_out_all_the_same():
    operator = DenseOperator(network_like(120))
    outliers = operator.eigenvectors[:, np.argsort(-np.abs(network_like(120)))[:9]].T.contiguous()
    group = LockstepLanczos(starts_of(operator), outliers, dtype=torch.float64, keep_basis=False)
    rows = requested(group.extend(60), operator)
    assert float((rows @ outliers.T).abs().max()) < 1e-12
    # Deflated eigenvalues never come back as ghosts: the tenth largest is the largest that is left.
    tenth = np.sort(np.abs(operator.eigenvalues))[-10]
    assert max(float(np.abs(rule.nodes).max()) for rule in gauss_rules(group.runs(), 60)) <= tenth * (1 + 1e-9)


def test_residuals_of_ritz_values_are_the_norms_computed_with_the_matrix():
    operator = DenseOperator(network_like(100))
    matrix, starts = operator.matrix.numpy(), starts_of(operator)
    rules = gauss_rules(run(operator, 30, starts=starts).runs(), 30)
    for rule, start in zip(rules, starts.numpy(), strict=True):
        alphas, betas, Q = dense_lanczos(matrix, start, 30)
        theta, S = np.linalg.eigh(tridiagonal(alphas, betas))
        actual = np.linalg.norm(matrix @ Q @ S - Q @ S * theta, axis=0)
        assert rule.nodes == pytest.approx(theta, abs=1e-9)
        assert rule.residuals == pytest.approx(actual, abs=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_converged_ritz_vectors_are_eigenvectors_above_the_threshold_in_magnitude(sign):
    operator = DenseOperator(sign * network_like(100))
    group = run(operator, 40)
    vectors = KrylovSpaces(group.runs(), list(group.basis_rows)).missed(30.0)
    assert len(vectors) == 3 * int((np.abs(operator.eigenvalues) > 30.0).sum())
    for vector in vectors:
        product = operator.matrix @ vector
        theta = float(vector @ product)
        assert sign * theta > 30.0
        assert float((product - theta * vector).norm()) <= 1e-2 * abs(theta)
    assert run(operator, 40, keep_basis=False).basis_rows is None


def test_the_full_recurrence_gives_the_probes_whole_spectral_measure():
    operator = DenseOperator(np.linspace(1.0, 4.0, 30))
    starts = starts_of(operator)
    group = run(operator, 50, starts=starts)  # more steps than dimensions
    assert group.closed
    assert group.num_steps == 30
    assert group.num_matvecs == 90
    for rule, start in zip(gauss_rules(group.runs(), 30), starts.numpy(), strict=True):
        assert rule.nodes == pytest.approx(operator.eigenvalues, abs=1e-8)
        assert rule.weights == pytest.approx(spectral_weights(operator.eigenvectors.numpy(), start), abs=1e-7)


@pytest.mark.parametrize("scale", [-1e-30, 1e-14, 1.0, 1e4, 1e30])
def test_a_recurrence_closes_when_its_space_is_invariant_whatever_the_scale(scale):
    operator = DenseOperator(scale * np.ones(60))
    group = run(operator, 20)
    assert group.closed
    assert (group.num_steps, operator.num_matvecs) == (1, 3)
    assert group.runs().alphas == pytest.approx(np.full((3, 1), scale))
    assert not group.runs().last_betas.any()


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("distinct", [2, 5, 12])
def test_steps_beyond_an_invariant_space_put_no_mass_anywhere(scale, distinct):
    # Rounding may keep such a recurrence from closing; what it then explores must not count.
    levels = scale * (np.linspace(-1.0, 3.0, distinct) + 0.25)
    operator = DenseOperator(np.repeat(levels, 60 // distinct))
    starts = starts_of(operator)
    for rule, start in zip(gauss_rules(run(operator, 25, starts=starts).runs(), 25), starts.numpy(), strict=True):
        mass = spectral_weights(operator.eigenvectors.numpy(), start).reshape(distinct, -1).sum(axis=1)
        found = [rule.weights[np.abs(rule.nodes - level) < 1e-6 * scale].sum() for level in levels]
        assert found == pytest.approx(mass, abs=1e-10)


def test_a_complement_that_is_nearly_zero_is_not_left_through_rounding():
    # After 32 steps the complement is spanned; the rounding of the products, large beside it, is no new direction.
    operator = DenseOperator(np.r_[np.zeros(33), np.geomspace(1e-3, 1.0, 31)])
    outliers = operator.eigenvectors[:, 32:].T.contiguous()
    group = run(operator, 64, outliers=outliers)
    assert group.closed
    assert group.num_steps <= 32
    for rule in gauss_rules(group.runs(), 64):
        assert np.abs(rule.nodes).max() <= 1e-14


def test_a_probe_that_closes_early_leaves_the_others_running():
    operator = MatrixOperator(np.diag(np.r_[np.linspace(1, 5, 40)]))
    starts = torch.zeros(2, 40, dtype=torch.float64)
    starts[0, :3] = 1.0  # lies in an invariant space of three dimensions
    starts[1] = gaussian_vectors(40, 1, seed=1, key="other")[0]
    group = run(operator, 10, starts=starts)
    assert not group.closed
    assert group.num_matvecs == 3 + 10
    short, long = gauss_rules(group.runs(), 10)
    assert short.nodes == pytest.approx(np.linspace(1, 5, 40)[:3])
    assert short.weights == pytest.approx(np.full(3, 1 / 3))
    assert len(long.nodes) == 10


def test_a_start_vector_inside_the_outliers_asks_for_nothing():
    operator = DenseOperator(np.linspace(1.0, 4.0, 20))
    outliers = operator.eigenvectors[:, :2].T.contiguous()
    group = LockstepLanczos(outliers[:1] * 3.0, outliers, dtype=torch.float64, keep_basis=True)
    assert group.closed
    answer(group.extend(5), operator)
    assert operator.num_matvecs == 0


def test_probes_depend_on_seed_key_and_index_alone():
    all_at_once = gaussian_vectors(50, 6, seed=3, key="layer/probe")
    later = gaussian_vectors(50, 2, seed=3, key="layer/probe", first=4)
    np.testing.assert_array_equal(all_at_once[4:], later)
    for other in (
        gaussian_vectors(50, 1, seed=4, key="layer/probe"),
        gaussian_vectors(50, 1, seed=3, key="layer/outliers"),
        all_at_once[1:2],
    ):
        assert abs(float(torch.corrcoef(torch.cat([all_at_once[:1], other]))[0, 1])) < 0.6
    sample = gaussian_vectors(20_000, 2, seed=0, key="moments")
    assert float(sample.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(sample.var()) == pytest.approx(1.0, abs=0.03)
    assert float((sample**4).mean()) == pytest.approx(3.0, abs=0.2)
