"""Blocks of K-FAC in a spectrum file: factors are kept, eigenvalues are formed from them, and lies are refused."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import sample_spectra
from kronecker_blocks import block, pair
from sealed_files import sealed

from hessent.errors import SpectrumFileError
from hessent.spectra.hdf5_reader import from_bytes
from hessent.spectra.hdf5_writer import to_bytes

PAIR = "blocks/000/factors/000"


def spectrum():
    ours = block(pair(groups=4), pair(3, 2, groups=4, seed=9), groups=4, draws=1, approximation="reduce")
    return replace(sample_spectra.spectrum(), blocks=(ours, sample_spectra.exact_block()))


@pytest.fixture(scope="module")
def content():
    return to_bytes(spectrum())


def test_what_was_written_is_read(content):
    ours, found = spectrum().blocks[0], from_bytes(content, where="x").blocks[0]
    for name in ("name", "size", "parameters", "method", "status", "approximation", "draws", "multiplicity"):
        assert getattr(found, name) == getattr(ours, name)
    assert np.array_equal(found.eigenvalues, ours.eigenvalues)
    for group in range(4):
        assert np.array_equal(found.left_out(group), ours.left_out(group))
    assert np.array_equal(found.groups.items, ours.groups.items)


def test_the_same_spectrum_gives_the_same_bytes(content):
    assert to_bytes(spectrum()) == content
    assert to_bytes(from_bytes(content, where="x")) == content


def test_reading_forms_no_eigenvalues(content):
    found = from_bytes(content, where="x").blocks[0]
    assert "eigenvalues" not in vars(found)
    assert "eigenvalues" not in vars(replace(found, name="other"))


def test_the_file_holds_factors_alone(content):
    def edit(file):
        assert "eigenvalues" not in file["blocks/000"]
        assert file[f"{PAIR}/inputs"].shape == (7,)
        assert file[f"{PAIR}/outputs_left_out"].shape == (4, 4)

    sealed(edit, content)


def array(name, values):
    def edit(file: h5py.File):
        del file[name]
        if values is not None:
            file.create_dataset(name, data=np.asarray(values, dtype="<f8"))

    return edit


def attribute(name, value):
    return lambda file: file["blocks/000"].attrs.__setitem__(name, value)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (array(f"{PAIR}/inputs", None), "is missing"),
        (array(f"{PAIR}/inputs", []), "is empty"),
        (array(f"{PAIR}/inputs", [3.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0]), "ascending"),
        (array(f"{PAIR}/inputs", [-1.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0]), "not from 0"),
        (array(f"{PAIR}/inputs", [0.0, 2.0, 4.0, 5.0, 6.0, 7.0, 1e99]), "not from 0"),
        (array(f"{PAIR}/inputs_left_out", np.ones((3, 7))), "leave out 3 groups of the data, of 4"),
        (array(f"{PAIR}/inputs_left_out", None), "leave out 0 groups of the data, of 4"),
        (array(f"{PAIR}/outputs_left_out", np.ones((4, 5))), "outputs_left_out"),
        (attribute("size", 35), "34 products, but the block has size 35"),
        (attribute("draws", -1), "draws"),
        (attribute("approximation", np.bytes_("whatever")), "not expand or reduce"),
        (lambda file: file["blocks/000"].__delitem__("factors"), "is missing"),
        (lambda file: file["blocks/000/factors"].__delitem__("001"), "products"),
        (array("blocks/000/groups/items", None), "is missing"),
    ],
)
def test_what_does_not_fit_is_refused(edit, found, content):
    with pytest.raises(SpectrumFileError) as refused:
        from_bytes(sealed(edit, content), where="x")
    assert found in str(refused.value)


def test_no_more_eigenvalues_are_read_than_fit_into_memory(content):
    def edit(file):
        for name in ("inputs", "outputs"):
            array(f"{PAIR}/{name}", np.ones(20_000))(file)
            array(f"{PAIR}/{name}_left_out", np.ones((4, 20_000)))(file)
        del file["blocks/000/factors/001"]
        file["blocks/000"].attrs["size"] = 20_000**2

    with pytest.raises(SpectrumFileError, match="at most 134,217,728"):
        from_bytes(sealed(edit, content), where="x")
