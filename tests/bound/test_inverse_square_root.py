"""Draws from the posterior against the dense square root of its covariance."""

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like

from hessent.eigensolver.inverse_square_root import PosteriorDraws

ITEMS = 400


def dense_draw(operator, starts, s2):
    values, vectors = torch.linalg.eigh(operator.matrix.double())
    roots = (ITEMS * values.clamp_min(0) + 1 / s2) ** -0.5
    return vectors @ (roots[:, None] * (vectors.T @ starts))


def distance(found, true):
    return float(((found - true).norm(dim=0) / true.norm(dim=0)).max())


def starts_of(size, count=3, seed=0):
    return torch.randn(size, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("s2", [1e-4, 1e-2, 1.0])
def test_draws_become_those_of_the_dense_root_and_their_error_is_told(s2):
    operator = DenseOperator(network_like(300), seed=2)
    draws = PosteriorDraws(operator, starts_of(300), ITEMS)
    true, told = dense_draw(operator, starts_of(300), s2), []
    for step in range(1, 121):
        draws.step()
        if step in (30, 60, 120):
            told.append(distance(draws.draws(s2), true))
            assert told[-1] <= 5 * draws.error(s2) + 1e-12
    assert told[2] < told[0]
    assert told[2] < 2e-2


def test_a_full_krylov_space_gives_the_root_itself_with_each_variance():
    operator = DenseOperator(network_like(40), seed=3)
    draws = PosteriorDraws(operator, starts_of(40), ITEMS)
    for _ in range(40):
        draws.step()
    for s2 in (1e-3, 1.0, 16.0):
        assert distance(draws.draws(s2), dense_draw(operator, starts_of(40), s2)) < 1e-8


def test_few_different_eigenvalues_close_the_recurrence_and_nothing_is_spoiled_by_going_on():
    operator = DenseOperator(np.repeat([-1.0, 0.0, 2.0, 5.0], 10), seed=4)
    draws = PosteriorDraws(operator, starts_of(40), ITEMS)
    for _ in range(8):
        draws.step()
    assert draws.closed
    assert draws.error(0.3) == 0.0
    assert distance(draws.draws(0.3), dense_draw(operator, starts_of(40), 0.3)) < 1e-7


def test_their_covariance_is_that_of_the_posterior():
    values = np.array([-0.02, 0.0, 0.01, 0.1, 1.0])
    operator, s2 = DenseOperator(values, seed=5), 0.7
    draws = PosteriorDraws(operator, starts_of(5, count=20000), ITEMS)
    for _ in range(5):
        draws.step()
    found = draws.draws(s2)
    precision = operator.eigenvectors * torch.as_tensor(ITEMS * np.maximum(operator.eigenvalues, 0) + 1 / s2)
    covariance = torch.linalg.inv(precision @ operator.eigenvectors.T)
    error = (found @ found.T / 20000 - covariance).abs().max() / covariance.abs().max()
    assert error < 0.04


def test_float32_products_are_good_enough():
    operator = DenseOperator(network_like(200), seed=6, dtype=torch.float32)
    draws = PosteriorDraws(operator, starts_of(200), ITEMS)
    for _ in range(100):
        draws.step()
    assert distance(draws.draws(0.01), dense_draw(operator, starts_of(200), 0.01)) < 1e-2
