"""The gradient's group in a spectrum file: what is written comes back, and nothing else is read."""

from __future__ import annotations

import numpy as np
import pytest
import sample_spectra
from interrupted_solvers import require_equal_spectra
from sealed_files import sealed

from hessent.errors import SpectrumFileError
from hessent.measures.registry import compute_measures
from hessent.spectra.hdf5_reader import from_bytes
from hessent.spectra.hdf5_writer import to_bytes

EXACT, SAMPLED = "blocks/000/gradient", "blocks/001/gradient"


@pytest.fixture(scope="module")
def spectrum():
    plain = sample_spectra.spectrum()
    return sample_spectra.spectrum([sample_spectra.with_gradient(block) for block in plain.blocks])


@pytest.fixture(scope="module")
def content(spectrum):
    return to_bytes(spectrum)


def test_what_is_written_comes_back_bit_for_bit(spectrum, content):
    for own, other in zip(spectrum.blocks, from_bytes(content, where="x").blocks, strict=True):
        require_equal_spectra(other.gradient, own.gradient)
        assert compute_measures(other)["gradient_top_share"].value is not None
    assert to_bytes(from_bytes(content, where="x")) == content


def changed(name, change):
    def edit(file):
        group, _, member = name.rpartition("/")
        values = change(file[name][()])
        del file[name]
        file[group].create_dataset(member, data=values)

    return edit


def attribute(name, key, value):
    return lambda file: file[name].attrs.__setitem__(key, value)


def without(name):
    return lambda file: file.__delitem__(name)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (changed(f"{EXACT}/reduced", lambda rows: -rows), "below 0"),
        (changed(f"{EXACT}/reduced", lambda rows: rows * [1, 1, 99]), "entropy above log"),
        (changed(f"{EXACT}/reduced", lambda rows: rows * [1, 99, 1]), "norms that no"),
        (changed(f"{EXACT}/reduced", lambda rows: rows * [1e80, 1, 1]), "norm beyond"),
        (changed(f"{EXACT}/reduced", lambda rows: rows * np.nan), "not finite"),
        (changed(f"{EXACT}/reduced", lambda rows: rows[:3]), "fewer than"),
        (changed(f"{EXACT}/reduced", lambda rows: rows[:, :2]), "shape"),
        (changed(f"{EXACT}/items", lambda items: items[:1]), "two or more group sizes"),
        (changed(f"{EXACT}/items", lambda items: items * 0), "two or more group sizes"),
        (changed(f"{EXACT}/shares", lambda shares: -shares), "shares of one whole"),
        (changed(f"{EXACT}/shares", lambda shares: 2 * shares), "shares of one whole"),
        (changed(f"{EXACT}/shares", lambda shares: shares[:-1]), "eigenvectors of an exact block"),
        (changed(f"{SAMPLED}/values", lambda values: values[::-1]), "ascending"),
        (changed(f"{SAMPLED}/residuals", lambda values: -values), "negative norm"),
        (changed(f"{SAMPLED}/shares", lambda shares: shares[:-1]), "shape"),
        (without(f"{SAMPLED}/values"), "no Ritz values"),
        (without(f"{SAMPLED}/residuals"), "missing"),
        (without(f"{SAMPLED}/reduced"), "missing"),
        (attribute(EXACT, "batch_size", 0), "less than 1"),
        (attribute(EXACT, "rounding", np.inf), "finite number from 0"),
        (attribute(EXACT, "sampled_fraction", 1.5), "share from 0 to 1"),
        (attribute(EXACT, "encoding-version", np.bytes_(b"2")), "version"),
        (attribute(EXACT, "encoding-type", np.bytes_(b"probes")), "not gradient"),
    ],
)
def test_a_departure_from_the_schema_is_named(content, edit, message):
    with pytest.raises(SpectrumFileError, match=message):
        from_bytes(sealed(edit, content), where="x")


def test_a_file_without_the_group_is_read(content):
    found = from_bytes(sealed(without(EXACT), content), where="x")
    assert found.blocks[0].gradient is None
    assert found.blocks[1].gradient is not None
