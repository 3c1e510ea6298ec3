"""Shares of the gradient along leading eigenvectors and along negative curvature, on matrices that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sample_spectra import exact_block, lanczos_block

from hessent.measures.gradient import gradient_measures
from hessent.measures.paired import differences
from hessent.spectra.gradients import BlockGradient, GradientAlong

TOP, NEGATIVE = "gradient_top_share", "gradient_negative_share"


def gradient_of(along):
    return BlockGradient(np.array([3.0, 1.0, 0.9]), 1e-8, np.zeros((0, 3)), 8, along=along)


def exact(values, shares, **changes):
    values = np.array(values, dtype=np.float64)
    block = dataclasses.replace(exact_block(size=len(values)), eigenvalues=values, noise_floor=1e-9)
    along = GradientAlong(np.array(shares, dtype=np.float64) / np.sum(shares))
    return dataclasses.replace(block, gradient=gradient_of(along), **changes)


def ritz(matrix, gradient, dimension, seed):
    """A sampled block whose Ritz pairs are those of a Krylov space of two random vectors."""
    rng = np.random.default_rng(seed)
    blocks = [np.linalg.qr(rng.standard_normal((len(matrix), 2)))[0]]
    while 2 * len(blocks) < dimension:
        space = np.hstack(blocks)
        image = matrix @ blocks[-1]
        for _ in range(2):
            image = image - space @ (space.T @ image)
        blocks.append(np.linalg.qr(image)[0])
    space = np.hstack(blocks)
    values, mixing = np.linalg.eigh(space.T @ matrix @ space)
    vectors = space @ mixing
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    along = GradientAlong((gradient @ vectors) ** 2 / (gradient @ gradient), values, residuals)
    return dataclasses.replace(lanczos_block(size=len(matrix)), gradient=gradient_of(along), noise_floor=0.0)


def test_an_exact_block_has_exact_shares():
    values, shares = np.linspace(-3.0, 9.0, 40), np.arange(1.0, 41.0)
    found = gradient_measures(exact(values, shares))
    leading = np.argsort(-np.abs(values))[:10]
    assert found[TOP].exact
    assert found[NEGATIVE].exact
    assert found[TOP].value == pytest.approx(shares[leading].sum() / shares.sum())
    assert found[NEGATIVE].value == pytest.approx(shares[values < 0.0].sum() / shares.sum())


def test_magnitude_decides_what_leads():
    found = gradient_measures(exact([-9.0, *np.linspace(0.1, 0.2, 10), 1.0], [4.0] + [0.0] * 10 + [6.0]))
    assert found[TOP].value == pytest.approx(1.0)
    assert found[NEGATIVE].value == pytest.approx(0.4)


def test_what_is_zero_but_for_rounding_neither_leads_nor_has_a_sign():
    found = gradient_measures(exact([-1e-12] * 6 + [1e-12] * 6 + [1.0, 2.0], [1.0] * 12 + [4.0, 4.0]))
    assert found[TOP].value == pytest.approx(0.4)
    assert (found[NEGATIVE].low, found[NEGATIVE].high) == pytest.approx((0.0, 0.6))
    assert not found[NEGATIVE].exact


def test_a_tie_at_the_tenth_place_is_told_as_an_interval():
    tied = gradient_measures(exact([0.1] * 20 + [1.0] * 4 + list(range(2, 10)), [0.0] * 20 + [1.0] * 4 + [2.0] * 8))
    assert (tied[TOP].low, tied[TOP].high) == pytest.approx((0.8, 1.0), abs=1e-6)
    assert tied[TOP].low <= tied[TOP].value <= tied[TOP].high


def test_a_semidefinite_matrix_has_nothing_along_negative_curvature():
    block = exact([-1e-9, 1.0, 2.0], [1.0, 1.0, 1.0], semidefinite=True)
    assert gradient_measures(block)[NEGATIVE] == gradient_measures(exact([1.0, 2.0, 3.0], [1, 1, 1]))[NEGATIVE]
    assert gradient_measures(block)[NEGATIVE].value == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_brackets_from_a_krylov_space_hold_the_truth_at_every_dimension(seed):
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    bulk = 10.0 ** -rng.uniform(1, 6, 280) * rng.choice([-1.0, 1.0], 280, p=[0.3, 0.7])
    values = np.concatenate([bulk, rng.uniform(1, 9, 14), -rng.uniform(1, 4, 6)])
    matrix = (rotation * values) @ rotation.T
    weights = rng.standard_normal(300) * np.where(np.abs(values) > 0.5, 4.0, rng.choice([0.1, 1.0], 300))
    gradient = rotation @ weights
    leading = np.argsort(-np.abs(values))[:10]
    truth = {
        TOP: (weights[leading] ** 2).sum() / (weights**2).sum(),
        NEGATIVE: (weights[values < 0.0] ** 2).sum() / (weights**2).sum(),
    }
    widths = []
    for dimension in (20, 40, 80, 140, 220):
        found = gradient_measures(ritz(matrix, gradient, dimension, seed))
        for name, share in truth.items():
            assert (found[name].low or 0.0) - 1e-9 <= share <= (found[name].high or 1.0) + 1e-9, (dimension, name)
        widths.append(found[NEGATIVE].half_width)
    assert found[TOP].half_width < 1e-3
    assert widths[-1] < 0.5 * widths[0]


def test_leading_eigenvectors_that_have_not_converged_leave_an_open_question():
    block = ritz(np.diag(np.linspace(1.0, 2.0, 200)), np.ones(200), 12, 0)
    found = gradient_measures(block)[TOP]
    assert found.value is None
    assert "converged" in found.reason
    assert (found.low, found.high) == (None, None)


def test_shares_are_unknown_with_a_reason_where_there_are_no_eigenvectors():
    block = exact([1.0, 2.0], [1.0, 1.0])
    no_vectors = dataclasses.replace(block, gradient=dataclasses.replace(block.gradient, along=None))
    zero = exact([0.0, 0.0], [1.0, 1.0])
    still = dataclasses.replace(block.gradient, total=np.zeros(3))
    cases = ((no_vectors, "not kept"), (zero, "matrix is zero"))
    cases += ((dataclasses.replace(block, gradient=still), "gradient is zero"),)
    for case, reason in cases:
        for name in (TOP, NEGATIVE):
            assert gradient_measures(case)[name].value is None
            assert reason in gradient_measures(case)[name].reason


def test_differences_of_shares_add_their_enclosures():
    own, other = (exact(np.linspace(-3.0, 9.0, 40), shares) for shares in (np.arange(1.0, 41.0), np.ones(40)))
    found = differences(own, other, same_seed=True, same_samples=True)[TOP]
    assert found.exact
    values = [gradient_measures(block)[TOP].value for block in (own, other)]
    assert found.value == pytest.approx(values[0] - values[1])


def test_enclosed_shares_of_one_gradient_along_the_same_eigenvectors_do_not_differ():
    rng = np.random.default_rng(11)
    matrix = rng.standard_normal((60, 60))
    matrix, gradient = matrix + matrix.T, rng.standard_normal(60)
    block, other = (ritz(matrix, gradient, 40, seed) for seed in (1, 2))
    copy = dataclasses.replace(block, gradient=dataclasses.replace(block.gradient))
    for name in (TOP, NEGATIVE):
        assert gradient_measures(block)[name].half_width > 0.0
        same, apart = (differences(run, block, same_seed=True, same_samples=True)[name] for run in (copy, other))
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
        assert apart.half_width > 0.0
