"""The density of a block: mass one, symmetric where the spectrum is, its marks where the outliers are."""

import dataclasses

import numpy as np
import pytest
import sample_spectra

from hessent.measures.density import NARROW, SignedLogAxis, spectral_densities
from hessent.spectra.recurrences import Outliers, ProbeRuns

BLOCKS = (
    sample_spectra.exact_block(),
    sample_spectra.lanczos_block(),
    sample_spectra.lanczos_block(num_outliers=0),
    sample_spectra.joint_block(),
)


def integral(values, grid):
    return float(values.sum() * (grid[1] - grid[0]))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.method)
def test_the_mean_integrates_to_one(block):
    (density,) = spectral_densities([block])
    assert integral(density.mean, density.grid) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.method)
def test_the_mean_lies_in_the_band(block):
    (density,) = spectral_densities([block])
    assert (density.low <= density.mean * (1 + 1e-12)).all()
    assert (density.mean <= density.high * (1 + 1e-12)).all()


def test_an_exact_block_has_no_band_and_a_sampled_one_has():
    exact, sampled = spectral_densities(BLOCKS[:2])
    assert (exact.low == exact.high).all()
    assert (sampled.low < sampled.high).any()


def test_the_marks_are_the_outliers():
    (density,) = spectral_densities([BLOCKS[1]])
    np.testing.assert_array_equal(density.marks, BLOCKS[1].outliers.values)
    (exact,) = spectral_densities([BLOCKS[0]])
    np.testing.assert_array_equal(exact.marks, BLOCKS[0].eigenvalues[[0, -1]])


def test_an_outlier_has_the_mass_of_one_eigenvalue():
    block = dataclasses.replace(
        BLOCKS[1],
        outliers=Outliers(np.array([1e3]), np.array([1e-3])),
        lambda_max=(1e3, 1e-3),
    )
    (density,) = spectral_densities([block])
    around = np.abs(density.grid - density.axis.position(np.array(1e3))) < 6 * NARROW
    assert integral(density.mean[around], density.grid) * block.size == pytest.approx(1.0, rel=1e-3)


def test_a_symmetric_spectrum_has_a_symmetric_density():
    half = np.geomspace(1e-5, 3.0, 40)
    exact = dataclasses.replace(sample_spectra.exact_block(size=80), eigenvalues=np.sort(np.r_[half, -half]))
    mirrored = dataclasses.replace(
        sample_spectra.lanczos_block(num_outliers=0),
        outliers=None,
        probes=ProbeRuns(np.zeros((1, 4)), np.array([[1.0, 0.5, 0.1]]), np.array([0.01])),
        lambda_max=(1.1, 1e-3),
        lambda_min=(-1.1, 1e-3),
    )
    for block in (exact, mirrored):
        (density,) = spectral_densities([block])
        np.testing.assert_allclose(density.grid, -density.grid[::-1], atol=1e-12)
        np.testing.assert_allclose(density.mean, density.mean[::-1], rtol=1e-6, atol=1e-12)


def test_a_mirrored_spectrum_has_the_mirrored_density():
    block = sample_spectra.exact_block()
    mirrored = dataclasses.replace(block, eigenvalues=-block.eigenvalues[::-1])
    one, other = spectral_densities([block, mirrored])
    at = np.interp(-one.grid, other.grid, other.mean, left=0.0, right=0.0)
    np.testing.assert_allclose(one.mean, at, rtol=1e-6, atol=1e-9)


def test_the_shares_beyond_the_threshold_agree_with_a_count():
    block = sample_spectra.exact_block(size=400)
    (density,) = spectral_densities([block])
    edge = 1.5
    share = integral(density.mean[density.grid > edge], density.grid)
    beyond = (density.axis.position(block.eigenvalues) > edge).mean()
    assert share == pytest.approx(beyond, abs=0.03)


def test_the_axis_and_its_inverse_undo_each_other():
    axis = SignedLogAxis(0.02)
    values = np.array([-1e5, -0.02, -1e-9, 0.0, 1e-9, 0.3, 7e8])
    np.testing.assert_allclose(axis.eigenvalue(axis.position(values)), values, rtol=1e-12)


def test_a_zero_matrix_has_a_density_at_zero():
    block = dataclasses.replace(sample_spectra.exact_block(size=8), eigenvalues=np.zeros(8))
    (density,) = spectral_densities([block])
    assert density.grid[density.mean.argmax()] == pytest.approx(0.0, abs=1e-12)
