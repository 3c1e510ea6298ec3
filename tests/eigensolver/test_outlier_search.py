"""The search for eigenpairs of largest magnitude against a dense eigensolver, with and without restarts."""

import functools

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like
from small_matrices import MatrixOperator

from hessent.eigensolver.outliers import OutlierSearch
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import answer
from hessent.eigensolver.ritz_pairs import RitzPairs, absorb, leading_converged

UNLIMITED = 10**6


@functools.cache
def operator_of(name):
    rng = np.random.default_rng(0)
    return DenseOperator(
        {
            "network": network_like(200),
            "negative leads": np.r_[-90.0, -60.0, 50.0, -40.0, 30.0, 20.0, -15.0, rng.uniform(-1, 1, 193)],
            "mirrored": np.r_[-8.0, 8.0, -5.0, 5.0, rng.uniform(-1, 1, 196)],
            "power": 1.0 / np.arange(1, 201) ** 1.1,
        }[name]
    )


def begun(operator, limit=UNLIMITED, *, dtype=torch.float64, fresh=16):
    start = gaussian_vectors(operator.size, 1, seed=0, key="outliers")[0]
    spare = gaussian_vectors(operator.size, fresh, seed=0, key="fresh") if fresh else torch.zeros(0, operator.size)
    return OutlierSearch(start, basis_limit=limit, dtype=dtype, fresh=spare)


def search(operator, steps, limit=UNLIMITED, **options):
    operator.num_matvecs = 0
    run = begun(operator, limit, **options)
    answer(run.extend(steps), operator)
    return run.pairs()


def by_magnitude(values):
    return values[np.argsort(-np.abs(values), kind="stable")]


def actual_residuals(operator, pairs):
    theta = torch.as_tensor(pairs.values)[:, None]
    return (pairs.vectors @ operator.matrix - theta * pairs.vectors).norm(dim=1).numpy()


@pytest.mark.parametrize("limit", [UNLIMITED, 40, 24])
@pytest.mark.parametrize("name", ["network", "negative leads", "mirrored"])
def test_the_leading_pairs_are_the_largest_in_magnitude(name, limit):
    operator = operator_of(name)
    _, vectors = np.linalg.eigh(operator.matrix.numpy())
    leading = by_magnitude(operator.eigenvalues)
    count = {"network": 10, "negative leads": 7, "mirrored": 4}[name]
    pairs = search(operator, 120, limit)
    assert pairs.num_converged >= count
    assert np.sort(pairs.values[:count]) == pytest.approx(np.sort(leading[:count]), rel=1e-4)
    order = np.argsort(-np.abs(operator.eigenvalues))[:count]
    overlap = np.linalg.norm(vectors[:, order].T @ pairs.vectors[:count].numpy().T, ord=-2)
    assert overlap == pytest.approx(1.0, abs=1e-3)  # the same space
    assert pairs.num_matvecs == operator.num_matvecs == 120


@pytest.mark.parametrize("name", ["network", "negative leads", "power"])
@pytest.mark.parametrize(
    ("steps", "limit"), [(1, UNLIMITED), (30, UNLIMITED), (16, 16), (23, 16), (50, 16), (65, 24)]
)
def test_claimed_residuals_are_those_of_the_matrix_at_any_stop(name, steps, limit):
    operator = operator_of(name)
    pairs = search(operator, steps, limit)
    scale = np.abs(operator.eigenvalues).max()
    assert pairs.residuals == pytest.approx(actual_residuals(operator, pairs), abs=1e-11 * scale)
    gram = pairs.vectors @ pairs.vectors.T
    assert float((gram - torch.eye(len(gram))).abs().max()) < 1e-12
    rayleigh = ((pairs.vectors @ operator.matrix) * pairs.vectors).sum(dim=1).numpy()
    assert pairs.values == pytest.approx(rayleigh, abs=1e-11 * scale)
    assert len(pairs.values) <= max(limit, 8)
    assert list(np.abs(pairs.values)) == sorted(np.abs(pairs.values), reverse=True)


def test_a_restart_costs_few_products_more_than_an_unlimited_basis():
    operator = operator_of("network")

    def needed(limit):
        run = begun(operator, limit)
        while leading_converged(*run.ritz_values()) < 8:
            answer(run.extend(1), operator)
        return run.num_matvecs

    assert needed(24) <= 1.25 * needed(UNLIMITED)


@pytest.mark.parametrize("limit", [UNLIMITED, 16])
def test_a_search_goes_on_from_where_it_stopped(limit):
    operator = operator_of("network")
    run = begun(operator, limit)
    for steps in (1, 15, 4, 20):
        answer(run.extend(steps), operator)
        run.pairs()  # looking changes nothing
    at_once = search(operator, 40, limit)
    assert run.num_matvecs == 40
    np.testing.assert_array_equal(run.pairs().values, at_once.values)
    np.testing.assert_array_equal(run.ritz_values()[1], at_once.residuals)


def test_converged_pairs_are_counted_up_to_the_first_that_is_not():
    values, residuals = np.array([9.0, -8.0, 7.0, 6.0]), np.array([0.01, 0.08, 0.071, 0.0])
    pairs = RitzPairs(values, residuals, torch.eye(4, dtype=torch.float64), 10)
    assert pairs.num_converged == 2
    assert pairs.leading(2).values.tolist() == [9.0, -8.0]
    assert pairs.leading(2).vectors.shape == (2, 4)
    all_good = RitzPairs(values, 0 * residuals, torch.eye(4, dtype=torch.float64), 10)
    assert all_good.num_converged == 4


@pytest.mark.parametrize("limit", [UNLIMITED, 12])
def test_a_closed_space_is_continued_with_fresh_directions(limit):
    operator = DenseOperator(np.r_[np.full(5, 4.0), np.full(35, 1.0)])
    pairs = search(operator, 30, limit)
    assert int(np.isclose(pairs.values, 4.0).sum()) == 5
    assert pairs.residuals == pytest.approx(actual_residuals(operator, pairs), abs=1e-11)


def test_without_fresh_directions_a_closed_space_ends_the_search():
    operator = DenseOperator(np.r_[np.full(5, 4.0), np.full(35, 1.0)])
    pairs = search(operator, 30, fresh=0)
    assert sorted(pairs.values) == pytest.approx([1.0, 4.0])
    assert pairs.num_matvecs == operator.num_matvecs == 2


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_more_steps_than_dimensions_give_every_pair_and_no_more(size):
    operator = DenseOperator(np.arange(1.0, size + 1))
    pairs = search(operator, 50)
    assert np.sort(pairs.values) == pytest.approx(np.arange(1.0, size + 1))
    assert operator.num_matvecs == size


def test_no_steps_give_no_pairs():
    pairs = search(operator_of("network"), 0)
    assert pairs.values.shape == pairs.residuals.shape == (0,)
    assert pairs.vectors.shape == (0, 200)
    assert pairs.num_converged == 0


def test_stored_float32_vectors_keep_float32_accuracy():
    operator = operator_of("network")
    pairs = search(operator, 80, 40, dtype=torch.float32)
    assert pairs.values[:10] == pytest.approx(by_magnitude(operator.eigenvalues)[:10], rel=1e-4)
    gram = pairs.vectors.double() @ pairs.vectors.double().T
    assert float((gram - torch.eye(len(gram))).abs().max()) < 1e-5


def test_glued_wilkinson_matrices_have_no_ghost_copies():
    # Each block has its eigenvalues in pairs that agree to 14 digits near the top; the glue makes groups of six.
    wilkinson = np.diag(np.abs(np.arange(-10.0, 11.0))) + np.diag(np.ones(20), 1) + np.diag(np.ones(20), -1)
    matrix = np.kron(np.eye(3), wilkinson)
    for joint in (21, 42):
        matrix[joint - 1, joint] = matrix[joint, joint - 1] = 1e-8
    operator = MatrixOperator(matrix)
    for limit in (UNLIMITED, 20):
        pairs = search(operator, 60, limit)
        assert pairs.residuals == pytest.approx(actual_residuals(operator, pairs), abs=1e-10)
        converged = pairs.leading(pairs.num_converged).values
        for value in np.unique(np.round(converged, 5)):
            copies = int((np.abs(converged - value) < 1e-4).sum())
            assert copies <= int((np.abs(operator.eigenvalues - value) < 1e-3).sum()), value


def leading_pairs(operator, count):
    order = np.argsort(-np.abs(operator.eigenvalues), kind="stable")[:count]
    rows = operator.eigenvectors.T[torch.as_tensor(order.copy())].contiguous()
    return RitzPairs(operator.eigenvalues[order], np.zeros(count), rows, 7)


def sorted_dense(values):
    return DenseOperator(np.sort(values))


def test_missed_copies_join_the_deflated_space_and_known_directions_do_not():
    operator = sorted_dense(np.r_[np.linspace(0, 1, 40), 6.0, 6.0, 6.0, 3.0, 3.0])
    eigenvectors = operator.eigenvectors.T
    # Known: one copy of 6 and one of 3.
    known = RitzPairs(np.array([6.0, 3.0]), np.zeros(2), eigenvectors[[44, 41]].contiguous(), 7)
    rng = torch.Generator().manual_seed(0)
    mixed = torch.randn(4, 3, generator=rng, dtype=torch.float64) @ eigenvectors[42:45]
    candidates = torch.cat([mixed, eigenvectors[40:41] + 0.5 * eigenvectors[41:42]])
    found = answer(absorb(known, candidates / candidates.norm(dim=1, keepdim=True)), operator)
    assert found.values == pytest.approx([6.0, 6.0, 6.0, 3.0, 3.0])
    assert found.num_matvecs == 7 + operator.num_matvecs == 10
    gram = found.vectors @ found.vectors.T
    assert float((gram - torch.eye(5)).abs().max()) < 1e-12
    assert actual_residuals(operator, found).max() < 1e-10


def test_candidates_that_are_known_already_cost_nothing():
    operator = sorted_dense(np.linspace(0, 1, 30))
    known = leading_pairs(operator, 4)
    assert answer(absorb(known, known.vectors[:2] * 1.0), operator) is known
    assert operator.num_matvecs == 0


def test_candidates_that_are_no_eigenvectors_are_not_deflated():
    operator = sorted_dense(np.r_[np.linspace(0, 1, 30), 5.0])
    known = leading_pairs(operator, 1)
    stranger = (operator.eigenvectors[:, :20].sum(dim=1) / 20**0.5)[None]
    found = answer(absorb(known, stranger), operator)
    assert found.values.tolist() == known.values.tolist()
    assert found.num_matvecs == 8
