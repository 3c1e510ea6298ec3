"""The joint Krylov space of a block in a spectrum file: written, read back, and refused where it does not fit."""

import dataclasses

import numpy as np
import pytest
import sample_spectra
from small_matrices import MatrixOperator, solve

from hessent.eigensolver.probes import gaussian_vectors
from hessent.errors import SpectrumFileError
from hessent.spectra.hdf5_reader import from_bytes
from hessent.spectra.hdf5_writer import to_bytes
from hessent.spectra.probe_space import ProbeSpace


def block_with(values=None, components=None):
    """A sampled block of four probes with a joint space of six dimensions."""
    rng = np.random.default_rng(3)
    drawn = rng.standard_normal((4, 6))
    space = ProbeSpace(
        np.arange(6.0) if values is None else values,
        drawn / np.linalg.norm(drawn, axis=1)[:, None] if components is None else components,
    )
    return dataclasses.replace(sample_spectra.lanczos_block(), space=space)


def read_back(block):
    return from_bytes(to_bytes(sample_spectra.spectrum((block,))), where="x").blocks[0]


def test_a_joint_space_comes_back_as_it_was_written():
    block = block_with()
    found = read_back(block).space
    assert np.array_equal(found.values, block.space.values)
    assert np.array_equal(found.components, block.space.components)
    assert read_back(dataclasses.replace(block, space=None)).space is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": np.arange(6.0)[::-1].copy()}, "ascending"),
        ({"values": np.arange(5.0)}, r"not float64 and \(6\)"),
        ({"components": np.full((4, 6), 0.5)}, "unit length"),
        ({"components": np.full((4, 6), 1e139)}, "unit length"),
        ({"components": np.eye(5, 6)}, "5 probes in 6 dimensions"),
        ({"components": np.zeros((4, 0)), "values": np.zeros(0)}, "unit length"),
    ],
)
def test_a_joint_space_that_cannot_be_one_is_refused(changes, words):
    with pytest.raises(SpectrumFileError, match=words):
        read_back(block_with(**changes))


def test_the_space_of_a_sampled_block_gives_the_probes_quadratic_forms():
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal((120, 120))
    operator = MatrixOperator(matrix + matrix.T)
    block = solve(operator, seed=2, max_matvecs=60, rtol=0.0).spectrum
    space = block.space
    assert space.components.shape == (block.probes.num_probes, len(space.values))
    assert np.isin(block.outliers.values, space.values).all()
    # n times the mean of v·Hv over unit probes is the plain estimate of the trace, which Lanczos gives exactly.
    probes = gaussian_vectors(120, len(space.components), seed=2, key="block/probe").numpy()
    probes /= np.linalg.norm(probes, axis=1)[:, None]
    expected = np.einsum("pi,ij,qj->pq", probes, operator.matrix.numpy(), probes)
    assert np.allclose((space.components * space.values) @ space.components.T, expected, atol=1e-9)
