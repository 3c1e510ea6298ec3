"""Strategies for data: files of tokens, CIFAR-10's binary files, and the table of all kinds of data."""

from __future__ import annotations

from data_names import names_of_data, queries
from fuzzed_arrays import hdf5_arrays, npz_files, packed_arrays
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from reading_law import Case


@st.composite
def token_files(draw: st.DrawFn) -> Case:
    """Tokens of any type and number, and the parameters that say how to read them."""
    content = draw(st.binary(max_size=40) | st.sampled_from((bytes(4096), b"\xff" * 4096, bytes(range(256)) * 8)))
    folder = draw(st.sampled_from(("", "", "set/")))
    name = draw(st.sampled_from(("train.bin", "train.bin", "train.bin", "tokens.bin")))
    files = {folder + name: content}
    if draw(st.integers(0, 2)) == 0:
        files[folder + draw(st.sampled_from(("val.bin", "test.bin")))] = draw(st.binary(max_size=30))
    target = "{folder}/set" if folder and draw(st.booleans()) else "{folder}/" + folder + name
    query = draw(queries("dtype", "block", "vocab", "split"))
    source = draw(st.sampled_from(("tokens:", "tokens:", "")))
    return Case("dataset", (source + target + query,), files)


@st.composite
def pictures(draw: st.DrawFn) -> Case:
    """The test set of CIFAR-10: its records, a few bytes changed, or a file of another length."""
    content = bytearray(30_730_000)
    for place in draw(st.lists(st.integers(0, 9_999), max_size=3)):
        content[3073 * place] = draw(st.sampled_from((0, 9, 10, 255)))
    length = draw(st.sampled_from((*(len(content),) * 5, 0, 1, 3073, len(content) - 1)))
    name = draw(st.sampled_from(("test_batch.bin", "cifar-10-batches-bin/test_batch.bin", "test_batch")))
    values = draw(queries("mean", "std")).replace("?", "&", 1)
    return Case("dataset", ("cifar10:{folder}?split=test" + values,), {name: bytes(content[:length])})


DATA: dict[str, SearchStrategy[Case]] = {
    "npz": npz_files(),
    "safetensors": packed_arrays(),
    "hdf5": hdf5_arrays(),
    "tokens": token_files(),
    "cifar10": pictures(),
    "names": names_of_data(),
}
