"""Whatever a file claims, reading it ends in a sentence: never in a crash, another file, or a filled memory."""

import os
import random

import h5py
import numpy as np
import pytest
import sample_spectra
from sealed_files import sealed

from hessent.errors import SpectrumFileError
from hessent.spectra import encoding
from hessent.spectra.hdf5_reader import from_bytes, load
from hessent.spectra.hdf5_writer import to_bytes, write_spectrum


@pytest.fixture(scope="module")
def content():
    return to_bytes(sample_spectra.spectrum())


def replace_array(name, **how):
    def edit(file):
        del file[name]
        file.create_dataset(name, **how)

    return edit


def test_an_edit_that_changes_nothing_is_read(content):
    assert len(from_bytes(sealed(lambda file: None, content), where="x").blocks) == 3


def test_members_and_attributes_of_a_later_minor_writer_are_ignored(content):
    def edit(file):
        file.create_group("novelty")
        file["blocks/000"].attrs["novelty"] = 1

    assert len(from_bytes(sealed(edit, content), where="x").blocks) == 3


def test_every_changed_byte_is_noticed(content):
    generator = random.Random(0)
    for position in [*range(100), *generator.sample(range(len(content)), 300)]:
        changed = bytearray(content)
        changed[position] ^= 1 << generator.randrange(8)
        with pytest.raises(SpectrumFileError):
            from_bytes(bytes(changed), where="x")


@pytest.mark.parametrize("length", [0, 1, 21, 511, 512, 513, 2_000, -1])
def test_a_truncated_file_is_named_as_such(content, length):
    with pytest.raises(SpectrumFileError, match=r"damaged|empty|not a spectrum file"):
        from_bytes(content[:length], where="x")


def test_trailing_bytes_are_noticed(content):
    with pytest.raises(SpectrumFileError, match="damaged"):
        from_bytes(content + b"\0", where="x")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f.attrs.__setitem__("encoding-version", np.bytes_("7")), "'/' is of type 'spectrum', version 7"),
        (
            lambda f: f["blocks/001/probes"].attrs.__setitem__("encoding-version", np.bytes_("2")),
            "'/blocks/001/probes' is of type 'probes', version 2",
        ),
        (lambda f: f.attrs.__setitem__("encoding-type", np.bytes_("anndata")), "is 'anndata', not spectrum"),
        (
            lambda f: f["blocks/000"].attrs.__setitem__("encoding-type", np.bytes_("blocks")),
            "is 'blocks', not exact",
        ),
        (lambda f: f.attrs.__delitem__("seed"), "'/seed' is missing"),
        (lambda f: f.__delitem__("model"), "'/model' is missing"),
        (lambda f: f["blocks/000"].attrs.__setitem__("size", -5), "is -5, less than 1"),
        (lambda f: f["blocks/000"].attrs.__setitem__("size", 65), r"shape \(64,\), not float64 and \(65\)"),
        (lambda f: f["blocks/000"].attrs.__setitem__("size", np.zeros(9)), "which the schema does not have"),
        (lambda f: f["blocks/000"].attrs.__setitem__("name", b'a","b'), "which the schema|not text"),
        (lambda f: f["blocks/000"].attrs.__setitem__("name", np.bytes_(b'a","b')), "is not text"),
        (replace_array("blocks/000/eigenvalues", data=np.full(64, np.nan)), "not finite"),
        (replace_array("blocks/000/eigenvalues", data=np.arange(64.0)[::-1]), "ascending"),
        (replace_array("blocks/000/eigenvalues", data=np.arange(64)), "is of type int64"),
        (replace_array("blocks/001/probes/betas", data=np.zeros((4, 12))), r"not float64 and \(4, 11\)"),
        (replace_array("blocks/001/probes/alphas", data=np.zeros((0, 0))), "is empty"),
        (replace_array("blocks/001/outliers/residuals", data=np.zeros(5)), r"not float64 and \(6\)"),
        (replace_array("provenance/settings", data=np.frombuffer(b"[" * 9_999, np.uint8)), "is not JSON"),
        (replace_array("provenance/settings", data=np.frombuffer(b"[1]", np.uint8)), "is not a JSON object"),
        (
            replace_array("provenance/data", data=np.frombuffer(b'{"name":1}', np.uint8)),
            "fields of the schema: avail",
        ),
        (replace_array("blocks/000/parameters", data=np.frombuffer(b"[1]", np.uint8)), "is not a list of names"),
    ],
)
def test_a_departure_from_the_schema_is_named(content, edit, message):
    with pytest.raises(SpectrumFileError, match=message):
        from_bytes(sealed(edit, content), where="x")


def soft(file):
    file["blocks/009"] = h5py.SoftLink("/blocks/000")


def external(file):
    file["blocks/009"] = h5py.ExternalLink("/etc/hostname", "/")


def stored_elsewhere(file):
    del file["blocks/000/eigenvalues"]
    file["blocks/000"].create_dataset("eigenvalues", shape=(64,), dtype="<f8", external=[("/etc/hostname", 0, 512)])


def virtual(file):
    del file["blocks/000/eigenvalues"]
    layout = h5py.VirtualLayout(shape=(64,), dtype="<f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", shape=(64,))
    file["blocks/000"].create_virtual_dataset("eigenvalues", layout)


def enormous(file):
    del file["blocks/000/eigenvalues"]
    file["blocks/000"].attrs["size"] = 10**12
    file["blocks/000"].create_dataset(
        "eigenvalues", shape=(10**12,), dtype="<f8", chunks=(1 << 20,), compression="gzip"
    )
    file["blocks/000/eigenvalues"][:1] = 1.0


def enormous_chunk(file):
    del file["blocks/000/eigenvalues"]
    file["blocks/000"].create_dataset(
        "eigenvalues", shape=(64,), maxshape=(None,), dtype="<f8", chunks=(1 << 28,), compression="gzip"
    )


def never_written(file):
    del file["blocks/000/eigenvalues"]
    file["blocks/000"].attrs["size"] = 10**6
    file["blocks/000"].create_dataset("eigenvalues", shape=(10**6,), dtype="<f8")


def other_filter(file):
    del file["blocks/000/eigenvalues"]
    file["blocks/000"].create_dataset("eigenvalues", data=np.zeros(64), compression="lzf")


def group_for_array(file):
    del file["blocks/000/eigenvalues"]
    file["blocks/000"].create_group("eigenvalues")


def cycle(file):
    del file["blocks/001/probes"]
    file["blocks/001/probes"] = file["blocks"]


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (soft, "leads elsewhere"),
        (external, "leads elsewhere"),
        (stored_elsewhere, "in other files"),
        (virtual, "virtual"),
        (enormous, "declares 8,000,000,000,000 bytes"),
        (enormous_chunk, "chunks of 2,147,483,648 bytes"),
        (never_written, "stores none"),
        (other_filter, "is packed with filters"),
        (group_for_array, "is a group, not a dataset"),
        (cycle, "is a second link to something"),
    ],
)
def test_an_attack_is_refused_before_a_byte_is_read(content, attack, message):
    with pytest.raises(SpectrumFileError, match=message):
        from_bytes(sealed(attack, content), where="x")


def test_a_mutated_image_with_a_valid_digest_is_read_or_refused():
    # Past the digest the library itself meets the damage; whatever that does to its process becomes our error.
    original = to_bytes(sample_spectra.spectrum(sample_spectra.grouped_blocks()))[encoding.PREAMBLE_SIZE :]
    refused = 0
    for seed in range(20):
        generator = random.Random(seed)
        image = bytearray(original)
        for _ in range(30):
            image[generator.randrange(len(image))] = generator.randrange(256)
        try:
            from_bytes(encoding.preamble(bytes(image)) + bytes(image), where="x")
        except SpectrumFileError:
            refused += 1
    assert refused > 10


def test_version_message_says_what_is_read_and_what_to_do(content):
    newer = sealed(lambda f: f.attrs.__setitem__("encoding-version", np.bytes_("7")), content)
    with pytest.raises(SpectrumFileError) as caught:
        from_bytes(newer, where="run.spectrum.h5")
    assert str(caught.value) == (
        "run.spectrum.h5: '/' is of type 'spectrum', version 7\n"
        "  expected: version 1 of 'spectrum', which is what this hessent reads\n"
        "  try: a newer hessent (pip install -U hessent), or compute it again with hessent spectrum … --force"
    )


def test_a_missing_file_suggests_what_lies_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_spectrum("b.spectrum.h5", sample_spectra.spectrum())
    with pytest.raises(SpectrumFileError, match=r"^a\.spectrum\.h5: no such file\n  try: 'b\.spectrum\.h5'$"):
        load("a.spectrum.h5")


def test_a_run_still_going_on_is_recognised(tmp_path):
    (tmp_path / "a.spectrum.h5.partial").mkdir()
    with pytest.raises(SpectrumFileError, match="goes on from what was finished"):
        load(tmp_path / "a.spectrum.h5")


def test_a_directory_a_pipe_and_an_empty_file_are_named(tmp_path):
    with pytest.raises(SpectrumFileError, match="is a directory"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpectrumFileError, match="not a regular file"):
        load(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    with pytest.raises(SpectrumFileError, match="is empty"):
        load(tmp_path / "empty")


def test_a_name_with_nul_is_an_error_of_the_input():
    with pytest.raises(SpectrumFileError, match="cannot be read"):
        load("a\0b")


def test_a_plain_hdf5_file_and_a_checkpoint_are_not_spectra(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(SpectrumFileError, match=r"not a spectrum file: begins with b'\\x89HDF"):
        load(tmp_path / "other.h5")
    (tmp_path / "step.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(SpectrumFileError, match="which measures the checkpoint"):
        load(tmp_path / "step.safetensors")
