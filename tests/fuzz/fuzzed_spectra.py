"""Strategies for spectrum files: valid ones, taken apart as HDF5, changed, and sealed with a valid digest again."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import sample_spectra
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from metadata_checksums import set_checksums_right
from mutations import changed_tree, damaged, tree, written
from reading_law import Case

from hessent.measures.registry import compute_measures, error_budget
from hessent.spectra import encoding
from hessent.spectra.hdf5_writer import to_bytes

Edit = Callable[[h5py.File], None]
FILE = "run.spectrum.h5"


@functools.cache
def samples() -> tuple[bytes, ...]:
    """Valid files: every type of block, with and without groups of the data, gradients, measures and the split."""
    blocks = (
        sample_spectra.exact_block(),
        sample_spectra.joint_block(),
        sample_spectra.projected_exact_block(size=60),
        sample_spectra.trace_block(),
    )
    blocks = tuple(sample_spectra.with_gradient(block) for block in blocks)
    whole = sample_spectra.spectrum(blocks, split=sample_spectra.split_blocks())
    measures = {block.name: compute_measures(block) for block in blocks}
    budgets = {block.name: error_budget(block, 1.0) for block in blocks}
    grouped = sample_spectra.spectrum(sample_spectra.grouped_blocks())
    return (
        to_bytes(whole, measures=measures, budgets=budgets),
        to_bytes(grouped),
        to_bytes(sample_spectra.spectrum(())),
    )


@functools.cache
def places(content: bytes) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Paths of the groups, of the datasets, and (path, name) of the attributes."""
    groups, datasets, attributes = ["/"], [], []
    with h5py.File(io.BytesIO(content), "r") as file:
        attributes += [("/", name) for name in file.attrs]

        def visit(path: str, found: Any) -> None:
            (groups if isinstance(found, h5py.Group) else datasets).append(path)
            attributes.extend((path, name) for name in found.attrs)

        file.visititems(visit)
    return tuple(sorted(groups)), tuple(sorted(datasets)), tuple(sorted(attributes))


ODD_ATTRIBUTES: tuple[Any, ...] = (
    *(
        -1,
        0,
        1,
        2**31,
        2**62,
        2**63 - 1,
        np.uint64(2**64 - 1),
        True,
        np.int8(-5),
        0.0,
        -1.0,
        np.nan,
        np.inf,
        1e308,
        1e-320,
    ),
    *(
        np.float32(0.5),
        np.float16(3),
        np.longdouble(1),
        1j,
        np.zeros(2),
        np.zeros((2, 2)),
        np.zeros(0),
        np.zeros(7000),
    ),
    *(np.array([np.nan, 1.0]), np.array([-1e308, 1e308]), np.array([1.0, -1.0]), "text", b"bytes", np.bytes_(b"")),
    *(
        np.bytes_(text)
        for text in (b"1", b"2", b"exact-block", b"lanczos-block", b"outliers", b"probes", b"blocks")
    ),
    *(
        np.bytes_(text)
        for text in (b"\\ud800", b"\\u202e\\u001b[31m", b'a"b', b"\xff\xfe", b"a\\n[/red]", b"9" * 3000)
    ),
    *(h5py.Empty("f8"), np.array([("a", 1)], dtype=[("x", "S1"), ("y", "i4")])),
)
_SCALES = (0.0, -1.0, 1e-300, 1e-160, 1e160, 1e300, np.nan, np.inf)


@st.composite
def changed_array(draw: st.DrawFn, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array like this one with other values, of another length, type or order of axes."""
    kind = draw(st.sampled_from((*("value", "scale", "constant") * 4, "shape", "reverse", "type", "cut")))
    if kind == "value" and array.size:
        array = array.copy()
        odd = st.sampled_from((np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, -0.0, 1e-310, -1.0, 1e17))
        with np.errstate(all="ignore"):
            array.reshape(-1)[draw(st.integers(0, array.size - 1))] = np.array(draw(odd)).astype(array.dtype)
    elif kind == "scale":
        with np.errstate(all="ignore"):
            array = (array * draw(st.sampled_from(_SCALES))).astype(array.dtype)
    elif kind == "shape":
        array = (
            np.resize(array, draw(st.lists(st.integers(0, 20), max_size=4))) if array.size else array.reshape(0, 1)
        )
    elif kind == "reverse":
        array = array[::-1] if array.ndim else array
    elif kind == "type":
        with np.errstate(all="ignore"):
            array = array.astype(draw(st.sampled_from(("f4", ">f8", "i8", "u1", "f2", "c16", "S8", "?"))))
    elif kind == "cut":
        array = array[: draw(st.integers(0, 3))] if array.ndim else array
    else:
        array = np.full_like(array, draw(st.integers(0, 3)))
    return array


def _odd_links(file: h5py.File, group: str, kind: str) -> None:
    name = "odd"
    if kind == "soft":
        file[group][name] = h5py.SoftLink("/blocks")
    elif kind == "external":
        file[group][name] = h5py.ExternalLink("/etc/hostname", "/")
    elif kind == "cycle":
        file[group][name] = file["/"]
    elif kind == "array":
        file[group][name] = np.arange(3)
    elif kind == "huge":
        file[group].create_dataset(name, shape=(1 << 40,), dtype="f8", chunks=(1 << 20,), compression="gzip")
    else:
        file[group].create_group(name)


@st.composite
def edits(draw: st.DrawFn, content: bytes) -> Edit:
    """One change to the parts of a file, as a function to be called on it."""
    groups, datasets, attributes = places(content)
    kind = draw(
        st.sampled_from(("attribute", "attribute", "array", "array", "array", "json", "json", "link", "move"))
    )
    if kind == "attribute":
        path, name = draw(st.sampled_from(attributes))
        if draw(st.integers(0, 4)) == 0:
            return lambda file: file[path].attrs.__delitem__(name)
        value = draw(st.sampled_from(ODD_ATTRIBUTES))
        return lambda file: file[path].attrs.__setitem__(name, value)
    if kind in ("array", "json"):
        with h5py.File(io.BytesIO(content), "r") as file:
            documents = [path for path in datasets if file[path].dtype == np.uint8]
            chosen = documents if kind == "json" else [path for path in datasets if path not in documents]
            path = draw(st.sampled_from(chosen or datasets))
            array = file[path][()]
        if kind == "json":
            document = draw(changed_tree(tree(json.loads(array.tobytes())), most=2))
            array = np.frombuffer(written(document).encode("ascii", "replace"), np.uint8)
        else:
            array = draw(changed_array(array))
        return lambda file: _replace(file, path, array)
    group = draw(st.sampled_from(groups))
    if kind == "link":
        what = draw(st.sampled_from(("soft", "external", "cycle", "array", "huge", "group")))
        return lambda file: _odd_links(file, group, what)
    places_of_all = (*groups[1:], *datasets)
    if not places_of_all:
        return lambda file: None
    path, other = draw(st.sampled_from(places_of_all)), draw(st.sampled_from(places_of_all))
    return lambda file: _move(file, path, other)


def _replace(file: h5py.File, path: str, array: np.ndarray[Any, Any]) -> None:
    if path in file:
        del file[path]
    file[path] = array


def _move(file: h5py.File, path: str, other: str) -> None:
    if path not in file:
        return
    if path == other or other not in file or path.startswith(other) or other.startswith(path):
        del file[path]
    else:
        del file[path]
        file[path] = file[other]


def sealed(image: bytes) -> bytes:
    """Put the preamble with the right digest in front of an HDF5 image."""
    return encoding.preamble(image) + image


@st.composite
def edited_contents(draw: st.DrawFn) -> bytes:
    """A file with one to three parts changed by the HDF5 library itself."""
    content = draw(st.sampled_from(samples()))
    found = [draw(edits(content)) for _ in range(draw(st.integers(1, 3)))]
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for edit in found:
            try:
                edit(file)
            except (KeyError, ValueError, TypeError, OSError, RuntimeError, AttributeError):
                continue  # an earlier change took away what this one is about
    return sealed(buffer.getvalue()[encoding.PREAMBLE_SIZE :])


@st.composite
def damaged_contents(draw: st.DrawFn) -> bytes:
    """A file whose image was damaged byte by byte and sealed again: the library itself meets the damage.

    Where only a few bytes changed, the library's own checksums are set right, too.
    """
    content = draw(st.sampled_from(samples()))
    image = content[encoding.PREAMBLE_SIZE :]
    marks = (b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"TREE", b"HEAP", b"SNOD", b"BTHD", b"FADB", b"FAHD", b"\x89HDF")
    near = []
    for mark in marks:
        start = image.find(mark)
        while start >= 0 and len(near) < 20_000:
            near += range(start, start + 48)
            start = image.find(mark, start + 1)
    if draw(st.booleans()):
        return sealed(draw(damaged(image, most=4, near=near)))
    changed = bytearray(image)
    for place in draw(st.lists(st.sampled_from(near), min_size=1, max_size=6)):
        changed[place] = draw(st.sampled_from((0, 1, 2, 3, 16, 127, 128, 255)) | st.integers(0, 255))
    set_checksums_right(changed, image)
    return sealed(bytes(changed))


@st.composite
def cases(draw: st.DrawFn, contents: SearchStrategy[bytes]) -> Case:
    """The command that prints a spectrum, in one of its forms."""
    content = draw(contents)
    form = draw(st.sampled_from(((), ("--json",), ("--format", "csv"), ("--alpha", "2"), ("--sort", "trace"))))
    return Case("command", ("summary", f"{{folder}}/{FILE}", *form), {FILE: content})


@st.composite
def torn_preambles(draw: st.DrawFn) -> bytes:
    """A file that is not sealed: the digest or the length does not fit, or the preamble is damaged."""
    content = draw(st.sampled_from(samples()))
    return draw(damaged(content, near=range(encoding.PREAMBLE_SIZE)))


SPECTRA: dict[str, SearchStrategy[Case]] = {
    "edited": cases(edited_contents()),
    "damaged": cases(damaged_contents()),
    "unsealed": cases(torn_preambles()),
}
