"""The part of an interval that the products' noise is answerable for, against matrices with noise added."""

import dataclasses
import math

import numpy as np
import pytest
from oracles import network_like, true_gap
from small_matrices import exact_block, sampled_block

from hessent.measures.registry import compute_measures, error_budget


def noise_matrix(size, floor, rng):
    """A random symmetric matrix whose root mean square eigenvalue is `floor`."""
    noise = rng.standard_normal((size, size))
    noise = noise + noise.T
    return noise * floor / math.sqrt(float((noise**2).sum()) / size)


@pytest.mark.parametrize("floor", [1e-4, 1e-3, 1e-2])
def test_the_precision_part_bounds_what_noise_does_and_not_by_far(floor):
    values, rng = network_like(200), np.random.default_rng(0)
    budget = error_budget(dataclasses.replace(exact_block(values), noise_floor=floor))
    seen = [np.linalg.eigvalsh(np.diag(values) + noise_matrix(200, floor, rng)) for _ in range(5)]
    changes = {
        "abs_trace": np.mean([np.abs(x).sum() for x in seen]) - np.abs(values).sum(),
        "entropy_gap": np.mean([true_gap(x) for x in seen]) - true_gap(values),
    }
    # Eigenvalues further apart than the noise is large repel each other less than the bound has it.
    for name, change in changes.items():
        assert 0.25 * budget[name]["precision"] <= abs(change) <= 1.2 * budget[name]["precision"], name
    moved = [abs(x.sum() - values.sum()) for x in seen]
    assert max(moved) <= budget["trace"]["precision"] == pytest.approx(math.sqrt(200) * floor)


def test_sampled_intervals_are_widened_by_the_noise_and_exact_ones_are_not():
    values, floor = network_like(150), 2e-4
    quiet = sampled_block(values, steps=20, deflated=6, noise=3e-6)
    noisy = dataclasses.replace(quiet, noise_floor=floor)
    before, after, budget = compute_measures(quiet), compute_measures(noisy), error_budget(noisy)
    for name in ("trace", "abs_trace", "entropy_gap"):
        assert after[name].value == before[name].value
        widened = after[name].high - before[name].high
        assert widened == pytest.approx(budget[name]["precision"]) != 0.0, name
        parts = [budget[name][part] for part in ("probes", "quadrature", "precision")]
        assert after[name].high - after[name].value == pytest.approx(sum(parts)), name
    top = after["lambda_max"]
    assert (
        budget["lambda_max"]["precision"] == pytest.approx(3e-6 * 200 + floor) == pytest.approx(top.value - top.low)
    )
    exact = dataclasses.replace(exact_block(values), noise_floor=floor)
    assert all(compute_measures(exact)[name].half_width == 0.0 for name in ("trace", "abs_trace", "entropy_gap"))
    assert error_budget(exact)["abs_trace"]["precision"] > 0.0


def test_noise_that_was_not_measured_is_not_called_zero():
    for block in (exact_block(network_like(40)), sampled_block(network_like(60), steps=10)):
        assert all(parts["precision"] is None for parts in error_budget(block).values())


def test_the_residual_of_the_largest_eigenvalue_stands_under_quadrature():
    block = dataclasses.replace(sampled_block(network_like(100), steps=10), lambda_max=(150.0, 3.0))
    parts = error_budget(block)["lambda_max"]
    assert (parts["probes"], parts["quadrature"], parts["data"]) == (0.0, 3.0, None)
