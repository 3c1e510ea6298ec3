"""Laws of Kronecker products: the gap adds, trace and condition number multiply; what is drawn is an estimate."""

import math
from dataclasses import replace

import numpy as np
import pytest
from kronecker_blocks import block, pair

from hessent.measures.paired import differences
from hessent.measures.registry import compute_measures
from hessent.spectra.model import BlockSpectrum


def exact(eigenvalues):
    size = len(eigenvalues)
    return BlockSpectrum("fc1", size, (), "exact", size, True, "exact", 0.0, eigenvalues=np.sort(eigenvalues))


def test_eigenvalues_are_those_of_the_kronecker_product():
    rng = np.random.default_rng(1)
    factors = [(lambda m: m @ m.T)(rng.normal(size=(size, size))) for size in (5, 3)]
    values = [np.linalg.eigvalsh(matrix) for matrix in factors]
    ours = block(replace(pair(), inputs=values[0], outputs=values[1]))
    assert np.allclose(ours.eigenvalues, np.linalg.eigvalsh(np.kron(factors[1], factors[0])), rtol=1e-12)
    assert (ours.size, len(ours.eigenvalues)) == (15, 15)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 0.5])
def test_gap_adds_and_trace_and_condition_number_multiply(alpha):
    one = pair(12, 9)
    whole, inputs, outputs = (
        compute_measures(own, alpha=alpha) for own in (block(one), exact(one.inputs), exact(one.outputs))
    )

    def values(name):
        return whole[name].value, inputs[name].value, outputs[name].value

    product, left, right = values("entropy_gap")
    assert product == pytest.approx(left + right, rel=1e-12)
    for name in ("trace", "abs_trace", "lambda_max", "lambda_min", "effective_rank"):
        product, left, right = values(name)
        assert product == pytest.approx(left * right, rel=1e-12)
    condition = [math.exp(np.ptp(np.log(own))) for own in (block(one).eigenvalues, one.inputs, one.outputs)]
    assert condition[0] == pytest.approx(condition[1] * condition[2], rel=1e-12)


def test_every_measure_is_that_of_an_exact_block_with_the_same_eigenvalues():
    ours = block(pair(12, 9), pair(3, 5, seed=4))
    assert compute_measures(replace(ours, noise=0.0)) == compute_measures(exact(ours.eigenvalues))


def test_population_interval_is_the_jackknife_of_the_products_without_each_group():
    ours = block(pair(6, 5, groups=4), groups=4)
    items, without = ours.groups.items, [ours.left_out(group).sum() for group in range(4)]
    found = compute_measures(ours)["trace"]
    assert found.exact
    shares = items.sum() / items
    pseudo = shares * ours.eigenvalues.sum() - (shares - 1) * without
    spread = ((pseudo - (pseudo / shares).sum()) ** 2 / (shares - 1)).mean()
    from scipy.stats import t

    # Groups of unequal sizes; the data is a quarter of its population.
    assert found.population.half_width == pytest.approx(t.ppf(0.975, 3) * math.sqrt(0.75 * spread), rel=1e-9)


def test_draws_make_estimates_with_the_population_interval():
    ours = block(pair(6, 5, groups=4), groups=4, draws=2)
    for name, own in compute_measures(ours).items():
        assert not own.exact
        if own.population is not None:
            assert own.low <= own.value <= own.high
            assert own.low >= 0.0
            assert own.high >= own.population.high - 1e-12, name


def test_draws_without_groups_leave_the_interval_open():
    found = compute_measures(block(pair(), draws=1))["trace"]
    assert (found.low, found.high, found.exact) == (None, None, False)


def test_differences_of_two_blocks_of_kfac_are_exact():
    ours, other = block(pair()), block(pair(seed=3))
    found = differences(ours, other, same_seed=False, same_samples=True)["entropy_gap"]
    gaps = [compute_measures(own)["entropy_gap"].value for own in (ours, other)]
    assert found.exact
    assert found.value == pytest.approx(gaps[0] - gaps[1])


def test_differences_of_drawn_blocks_have_an_interval():
    ours, other = (block(pair(groups=4, seed=seed), groups=4, draws=1) for seed in (0, 3))
    found = differences(ours, other, same_seed=False, same_samples=True)["trace"]
    assert not found.exact
    assert found.half_width > 0.0
