"""Spectrum files of an attacker, each with a valid digest: built from a good file with h5py when a test needs them.

`SPECTRUM_ATTACKS` maps a name to the edit and to words that the sentence about it must hold.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import sample_spectra
from sealed_files import sealed

from hessent.spectra.hdf5_writer import to_bytes

Edit = Callable[[h5py.File], None]
SPECTRUM_ATTACKS: dict[str, tuple[Edit, str]] = {}
EIGENVALUES = "blocks/000/eigenvalues"


def attack(words: str) -> Callable[[Edit], Edit]:
    def note(edit: Edit) -> Edit:
        SPECTRUM_ATTACKS[edit.__name__] = (edit, words)
        return edit

    return note


def attacked_file(path: Path, edit: Edit) -> Path:
    path.write_bytes(sealed(edit, to_bytes(sample_spectra.spectrum())))
    return path


def document(name: str, raw: bytes) -> Edit:
    def edit(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=np.frombuffer(raw, np.uint8))

    return edit


def changed_document(name: str, **values: object) -> Edit:
    def edit(file: h5py.File) -> None:
        found = json.loads(bytes(file[name][()]))
        document(name, json.dumps(found | values).encode())(file)

    return edit


def recurrence(num_steps: int) -> Edit:
    def edit(file: h5py.File) -> None:
        probes = file["blocks/001/probes"]
        for name, shape in (("alphas", (1, num_steps)), ("betas", (1, num_steps - 1)), ("last_betas", (1,))):
            del probes[name]
            probes.create_dataset(name, data=np.ones(shape))

    return edit


@attack("attributes")
def many_attributes(file: h5py.File) -> None:
    for index in range(300):
        file["blocks"].attrs[f"a{index}"] = index


@attack("deep in each other")
def deep_groups(file: h5py.File) -> None:
    group = file["blocks/000"]
    for _ in range(40):
        group = group.create_group("g")


@attack("declares 1,073,741,824 bytes")
def packed_zeros(file: h5py.File) -> None:
    # A GiB in 1 MB.
    del file[EIGENVALUES]
    file["blocks/000"].attrs["size"] = 2**27
    stored = file["blocks/000"].create_dataset(
        "eigenvalues", shape=(2**27,), dtype="<f8", chunks=(2**20,), compression="gzip"
    )
    packed = zlib.compress(bytes(2**23), 9)
    for first in range(0, 2**27, 2**20):
        stored.id.write_direct_chunk((first,), packed)


@attack("cannot be unpacked")
def chunk_that_lies(file: h5py.File) -> None:
    # Declares 512 bytes and unpacks to 640 MiB: HDF5 grows the buffer for as long as the stream goes on.
    del file[EIGENVALUES]
    stored = file["blocks/000"].create_dataset(
        "eigenvalues", shape=(64,), dtype="<f8", chunks=(64,), compression="gzip"
    )
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(2**24)) for _ in range(40)) + packer.flush()
    stored.id.write_direct_chunk((0,), packed)


@attack("second link")
def circle(file: h5py.File) -> None:
    del file["blocks/001/probes"]
    file["blocks/001/probes"] = file["/"]


@attack("is of type object")
def reference(file: h5py.File) -> None:
    file["blocks/000"].attrs["name"] = file["blocks"].ref


@attack("is of type object")
def array_of_references(file: h5py.File) -> None:
    del file[EIGENVALUES]
    file["blocks/000"].create_dataset("eigenvalues", data=[file.ref] * 64, dtype=h5py.ref_dtype)


@attack("named type")
def named_type(file: h5py.File) -> None:
    del file[EIGENVALUES]
    file[EIGENVALUES] = np.dtype("<f8")


@attack("is of type object")
def text_of_variable_length(file: h5py.File) -> None:
    del file["blocks/000"].attrs["name"]
    file["blocks/000"].attrs.create("name", "x", dtype=h5py.string_dtype())


@attack("which the schema does not have")
def compound(file: h5py.File) -> None:
    file["blocks/000"].attrs["name"] = np.zeros((), dtype=[("a", "<f8"), ("b", "S3")])


@attack("which the schema does not have")
def opaque(file: h5py.File) -> None:
    file["blocks/000"].attrs["name"] = np.void(b"abc")


@attack("which the schema does not have")
def attribute_without_a_value(file: h5py.File) -> None:
    file["blocks/000"].attrs["size"] = h5py.Empty("<i8")


@attack("leads elsewhere")
def link_to_a_device(file: h5py.File) -> None:
    file["blocks/009"] = h5py.ExternalLink("/dev/zero", "/")


@attack("in other files")
def values_from_a_device(file: h5py.File) -> None:
    del file[EIGENVALUES]
    file["blocks/000"].create_dataset("eigenvalues", shape=(64,), dtype="<f8", external=[("/dev/zero", 0, 512)])


@attack("in other files")
def values_from_another_file(file: h5py.File) -> None:
    del file[EIGENVALUES]
    layout = h5py.VirtualLayout(shape=(64,), dtype="<f8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(64,))
    file["blocks/000"].create_virtual_dataset("eigenvalues", layout)


@attack("of which at most 8,192 are read")
def endless_recurrence(file: h5py.File) -> None:
    recurrence(100_000)(file)


@attack("beyond 1e+140")
def numbers_whose_squares_overflow(file: h5py.File) -> None:
    file["blocks/001/probes/alphas"][...] = 1e200


SPECTRUM_ATTACKS |= {
    "json_nan": (document("provenance/settings", b'{"a":NaN}'), "NaN is not a JSON number"),
    "json_twice": (document("provenance/settings", b'{"a":1,"a":2}'), "stands there twice"),
    "json_deep": (document("provenance/settings", b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "json_of_lists": (
        document("provenance/settings", b'{"a":[' + b"[]," * 4_000_000 + b"[]]}"),
        "too many entries",
    ),
    "json_of_names": (
        document("blocks/000/parameters", b"[" + b'"ab",' * 2_500_000 + b'"ab"]'),
        "too many entries",
    ),
    "json_of_digits": (document("provenance/settings", b'{"a":' + b"9" * 10_000 + b"}"), "digits"),
    "json_beyond_the_cap": (document("provenance/settings", b'{"a":"' + b"x" * 2**24 + b'"}'), "declares"),
    "metric_that_is_a_list": (changed_document("provenance/checkpoint", metrics={"a": [1]}), "other than numbers"),
    "metric_that_is_a_word": (changed_document("provenance/checkpoint", metrics={"a": "x"}), "other than numbers"),
    "step_of_many_digits": (changed_document("provenance/checkpoint", step=10**400), "fields of the schema: step"),
}


def unopened_images() -> dict[str, bytes]:
    """HDF5 images that no schema is needed to refuse: made from nothing, cut, or pointing into themselves."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["x"] = np.arange(10.0)
    image = buffer.getvalue()
    return {"nothing": b"", "signature": image[:8], "half": image[: len(image) // 2], "noise": os.urandom(4096)}
