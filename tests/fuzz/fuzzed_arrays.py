"""Strategies for arrays in files: npz, safetensors and HDF5, their headers odd or their bytes damaged."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import h5py
import numpy as np
from data_names import queries
from fuzzed_checkpoints import SIZES, header_of, safetensors
from fuzzed_pickles import zipped
from hypothesis import strategies as st
from mutations import changed_tree, damaged, odd_values
from reading_law import Case
from small_networks import Shapes

X: Shapes = {"x": (6, 5), "y": (6,), "x_test": (2, 5), "y_test": (2,)}

DESCRIPTIONS = (
    *(
        "'<f4'",
        "'<f8'",
        "'>f2'",
        "'|u1'",
        "'<i8'",
        "'>i4'",
        "'|b1'",
        "'<c8'",
        "'|O'",
        "'<U3'",
        "'|S0'",
        "'<M8[ns]'",
    ),
    *(
        "[('a', '<f4'), ('b', '<i2')]",
        "'|V4'",
        "'<f16'",
        "'<f3'",
        "''",
        "None",
        "7",
        "'<f4', (2,)",
        "('<f4', (2,))",
    ),
    *(
        "[('a', '|O')]",
        "'(100000,100000)f8'",
        "'>u8'",
        "'\\ud800'",
        "'x' * 10**9",
        "[" * 100,
        "[" * 5000,
        "-" * 9000 + "1",
    ),
)
SHAPES = (
    *(
        "(6, 5)",
        "(6,)",
        "(30,)",
        "()",
        "(0, 5)",
        "(-1, 5)",
        "(-6, -5)",
        "(6, 5L)",
        "(True, 5)",
        "(6.0, 5)",
        "6",
        "None",
    ),
    *(
        "(2, 3, 5)",
        "(1, 6, 5, 1)",
        "(6, 1, 1, 5)",
        "(4611686018427387904, 4)",
        "(0, 4611686018427387904)",
        "(1,) * 40",
    ),
    *("(" + "1, " * 40 + "30)", "(6, 5, " + "1, " * 70 + ")", "(9" + "9" * 5000 + ",)", "((6, 5),)", "(6, 5"),
)


@st.composite
def npy(draw: st.DrawFn, valid: bool) -> bytes:
    """An array as numpy writes it, its header made of odd parts."""
    description, shape, order, data = "'<f4'", "(6, 5)", "False", np.linspace(0, 1, 30).astype("<f4").tobytes()
    for part in () if valid else draw(st.lists(st.sampled_from(("type", "shape", "order", "data")), max_size=2)):
        if part == "type":
            description = draw(st.sampled_from(DESCRIPTIONS))
        elif part == "shape":
            shape = draw(st.sampled_from(SHAPES))
        elif part == "order":
            order = draw(st.sampled_from(("True", "1", "None", "'F'")))
        else:
            data = draw(
                st.sampled_from((b"", data[:-4], data * 2, b"\xff" * 120, bytes(240), bytes(60), bytes(30)))
            )
    header = f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if not valid and draw(st.integers(0, 3)) == 0:
        header = draw(
            st.sampled_from(("", "{", "{}", header[:-5], header + "'", header * 2, "(" * 3000, "{'a': [" * 90))
        )
    raw = header.encode("latin-1", "replace") + b"\n"
    version = (
        b"\x01\x00"
        if valid
        else draw(st.sampled_from((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00")))
    )
    length = struct.pack("<H", min(len(raw), 65535)) if version[0] == 1 else struct.pack("<I", len(raw))
    return b"\x93NUMPY" + version + length + raw + data


@st.composite
def npz_files(draw: st.DrawFn) -> Case:
    """An npz archive whose arrays, records or bytes are odd."""
    labels = io.BytesIO()
    np.save(labels, np.arange(6) % 3)
    records = [("x.npy", draw(npy(valid=False))), ("y.npy", labels.getvalue())]
    if draw(st.integers(0, 3)) == 0:
        records.append((draw(st.sampled_from(("x.npy", "x", "../x.npy", "z.npy", "\0"))), draw(npy(valid=True))))
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    compression = draw(st.sampled_from((*kinds * 4, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, 93, 99)))
    content = zipped(records, compression=compression)
    if draw(st.integers(0, 4)) == 0:
        directory = content.find(b"PK\x01\x02")
        near = [*range(30), *range(directory, directory + 46), *range(len(content) - 22, len(content))]
        content = draw(damaged(content, near=near))
    name = "arrays:{folder}/data.npz" + draw(queries("x", "y", "classes", "normalize", "layout", "split"))
    return Case("dataset", (name,), {"data.npz": content})


@st.composite
def packed_arrays(draw: st.DrawFn) -> Case:
    """Arrays as safetensors, of any type and shape, the header sound or not."""
    dtype = draw(st.sampled_from((*SIZES, "F32", "U8", "I64", "F4", "F6_E2M3")))
    shapes = dict(X)
    for key in draw(st.lists(st.sampled_from(tuple(shapes)), max_size=2)):
        shapes[key] = tuple(draw(st.lists(st.sampled_from((0, 1, 2, 3, 5, 6)), max_size=5)))
    header, data = header_of(shapes, None, dtype if dtype in SIZES else "U8")
    for index, (name, entry) in enumerate(header):
        if name.startswith("y") and draw(st.booleans()):
            header[index] = (name, type(entry)((k, v if k != "dtype" else "I32") for k, v in entry))
        elif dtype not in SIZES:
            header[index] = (name, type(entry)((k, v if k != "dtype" else dtype) for k, v in entry))
    if draw(st.integers(0, 2)) == 0:
        header = draw(changed_tree(header, odd_values | st.sampled_from(tuple(SIZES))))
    content = safetensors(header, data)
    if draw(st.integers(0, 3)) == 0:
        content = draw(damaged(content, near=range(40)))
    name = "arrays:{folder}/data.safetensors" + draw(queries("x", "y", "classes", "normalize", "layout", "split"))
    return Case("dataset", (name,), {"data.safetensors": content})


@st.composite
def hdf5_arrays(draw: st.DrawFn) -> Case:
    """Arrays as HDF5, stored in odd ways or damaged."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=draw(st.sampled_from(("earliest", "latest")))) as file:
        _store(file, "x", draw(st.sampled_from(WAYS)), np.linspace(0, 1, 30).reshape(6, 5))
        _store(file, "y", draw(st.sampled_from((*("plain",) * 6, *WAYS))), np.arange(6))
    content = buffer.getvalue()
    if draw(st.booleans()):
        near = [index for index in range(len(content) - 4) if content[index : index + 4] in _MARKS]
        near = [index + offset for index in near for offset in range(64)]
        content = draw(damaged(content, most=4, near=near))
    return Case("dataset", ("arrays:{folder}/data.h5",), {"data.h5": content})


_MARKS = (b"OHDR", b"TREE", b"HEAP", b"SNOD", b"\x89HDF", b"FADB", b"FAHD", b"OCHK")
WAYS = (
    *("plain", "plain", "gzip", "lzf", "shuffle", "half", "complex", "text", "objects", "empty", "scalar", "group"),
    *("soft", "external link", "external", "virtual", "huge", "huge chunk", "compound", "enum", "big", "bool"),
)


def _store(file: h5py.File, key: str, way: str, array: np.ndarray[Any, Any]) -> None:
    """Put an array, or something else, under a key."""
    packed = {"gzip": {"compression": "gzip"}, "lzf": {"compression": "lzf"}, "shuffle": {"shuffle": True}}
    types = {"half": "f2", "complex": "c8", "big": ">f8", "bool": "?", "compound": [("a", "f4"), ("b", "i4")]}
    other = {
        "enum": {"data": array.astype("i1"), "dtype": h5py.enum_dtype({"A": 0, "B": 1}, basetype="i1")},
        "text": {"data": ["a", "b"], "dtype": h5py.string_dtype()},
        "objects": {"data": ["a", "b"], "dtype": "S3"},
        "external": {"shape": array.shape, "dtype": "f8", "external": [("/etc/hostname", 0, 512)]},
        "huge": {"shape": (1 << 40,), "dtype": "f8", "chunks": (1 << 20,), "compression": "gzip"},
        "huge chunk": {"shape": (6, 5), "maxshape": (None, None), "dtype": "f8", "chunks": (1 << 13, 1 << 13)},
    }
    if way in packed:
        file.create_dataset(key, data=array, chunks=array.shape, **packed[way])
    elif way in types:
        file.create_dataset(key, data=array.astype("f4").astype(types[way]))  # type: ignore[call-overload]
    elif way in other:
        file.create_dataset(key, **other[way])
    elif way == "virtual":
        layout = h5py.VirtualLayout(shape=array.shape, dtype="f8")
        layout[:] = h5py.VirtualSource("../outside.h5", "x", shape=array.shape)
        file.create_virtual_dataset(key, layout)
    elif way == "group":
        file.create_group(key)
    else:
        plain = {"soft": h5py.SoftLink("/x" if key == "y" else "/nowhere"), "empty": h5py.Empty("f8")}
        links = {"external link": h5py.ExternalLink("../outside.h5", "/x"), "scalar": array.flat[0]}
        file[key] = (plain | links).get(way, array)
