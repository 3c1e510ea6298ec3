"""What float32 products, little memory and broken products do to an answer."""

import functools
import math

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like, tolerance, true_gap
from small_matrices import solve, solver_for

from hessent.eigensolver.requests import answer
from hessent.errors import NonFiniteError
from hessent.measures.registry import compute_measures

SMOOTH = ("trace", "abs_trace", "entropy", "entropy_gap", "effective_rank", "lambda_max")


@functools.cache
def operator_of(dtype):
    return DenseOperator(network_like(300), dtype=dtype)


@pytest.mark.parametrize(
    "settings", [{"max_matvecs": 100}, {"max_matvecs": 300}, {"num_probes": 4, "num_steps": 20}]
)
def test_float32_products_give_the_float64_answer_to_their_own_accuracy(settings):
    narrow = compute_measures(solve(operator_of(torch.float32), dtype=torch.float32, **settings).spectrum)
    wide = compute_measures(solve(operator_of(torch.float64), **settings).spectrum)
    for name in SMOOTH:
        expected = pytest.approx(wide[name].value, rel=tolerance(torch.float32))
        assert narrow[name].value == expected, name


def test_float32_products_stay_within_the_printed_interval_at_any_scale():
    for scale in (1e-14, 1.0, 1e4):
        operator = DenseOperator(scale * network_like(200), dtype=torch.float32)
        measures = compute_measures(solve(operator, dtype=torch.float32, max_matvecs=150).spectrum)
        assert measures["abs_trace"].low <= np.abs(operator.eigenvalues).sum() <= measures["abs_trace"].high
        assert measures["entropy_gap"].low <= true_gap(operator.eigenvalues) <= measures["entropy_gap"].high


@pytest.mark.parametrize(("vectors", "outliers", "bars"), [(1, 16, (0.02, 0.02)), (120, 60, (0.006, 0.007))])
def test_without_room_for_a_basis_the_intervals_still_hold(vectors, outliers, bars):
    # Half of the room is for outliers; the probes keep no vectors, so the outliers alone are kept out of them.
    # With few outliers removed more is left to chance, which the interval says.
    operator = operator_of(torch.float64)
    truth = {"abs_trace": np.abs(operator.eigenvalues).sum(), "entropy_gap": true_gap(operator.eigenvalues)}
    held, errors = dict.fromkeys(truth, 0), {name: [] for name in truth}
    for seed in range(16):
        block = solve(operator, seed=seed, basis_memory=vectors * 8 * 300, max_matvecs=300).spectrum
        assert len(block.outliers.values) <= outliers
        measures = compute_measures(block)
        for name, number in truth.items():
            held[name] += measures[name].low <= number <= measures[name].high
            errors[name].append(abs(measures[name].value / number - 1))
    assert min(held.values()) >= 13  # of a true 0.95 fewer come up once in a hundred
    for name, bar in zip(truth, bars, strict=True):
        assert np.median(errors[name]) <= bar, name


class Breaking(DenseOperator):
    """A product that turns into NaN at the k-th vector."""

    def __init__(self, eigenvalues, break_at, poison):
        super().__init__(eigenvalues)
        self.break_at, self.poison = break_at, poison

    def _multiply(self, V):
        product = super()._multiply(V)
        if self.num_matvecs >= self.break_at:
            product[3, -1] = self.poison
        return product


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [1, 2, 30, 90])
@pytest.mark.parametrize("settings", [{"max_matvecs": 150}, {"method": "exact"}])
def test_a_product_that_is_not_finite_ends_the_run_with_its_place(settings, step, poison):
    operator = Breaking(network_like(100), step, poison)
    with pytest.raises(NonFiniteError, match="'dense' is not finite"):
        solve(operator, **settings)
    assert operator.num_matvecs >= step


def test_what_was_published_before_a_failure_stands():
    operator = Breaking(network_like(300), 10**9, math.nan)
    solver = solver_for(operator)
    answer(solver.first_look(), operator)
    look = solver.spectrum
    operator.break_at = operator.num_matvecs + 30
    with pytest.raises(NonFiniteError):
        answer(solver.finish(), operator)
    assert solver.spectrum is look
    solver.stop("product not finite")
    assert solver.spectrum.status == "product not finite"
    assert not solver.spectrum.converged


def test_noise_of_the_products_travels_with_the_block():
    block = solve(operator_of(torch.float64), noise=3e-5, max_matvecs=60).spectrum
    assert block.noise == 3e-5
    measures = compute_measures(block)
    assert measures["entropy_gap"].value is None
    assert measures["trace"].value is not None
