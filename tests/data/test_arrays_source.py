"""`arrays:` files: the three formats agree, and damaged or hostile ones end in an error, not in code."""

import io
import json
import os
import pickle
import struct
import time
import zipfile

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from hessent.data.registry import open_dataset
from hessent.errors import DataError

RANDOM = np.random.default_rng(0)
X = RANDOM.random((12, 3, 4, 5)).astype(np.float32)
Y = np.arange(12) % 4


def write(path, arrays):
    if path.suffix == ".safetensors":
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                file.create_dataset(
                    key, data=value, **({"compression": "gzip", "shuffle": True} if value.ndim else {})
                )
    return path


def everything(dataset):
    return dataset.fetch(torch.arange(len(dataset)))


FORMATS = pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".h5"])


@FORMATS
def test_every_format_gives_the_same_samples_and_fingerprint(tmp_path, suffix):
    file = write(tmp_path / f"data{suffix}", {"x": X, "y": Y})
    dataset = open_dataset(f"arrays:{file}")
    inputs, targets = everything(dataset)
    assert np.array_equal(inputs.numpy(), X)
    assert np.array_equal(targets.numpy(), Y)
    reference = write(tmp_path / "reference.npz", {"x": X, "y": Y})
    assert dataset.digest() == open_dataset(f"arrays:{reference}").digest()
    assert dataset.splits == ("train",)


@FORMATS
def test_the_bare_file_name_is_enough(tmp_path, suffix):
    file = write(tmp_path / f"data{suffix}", {"x": X, "y": Y})
    assert len(open_dataset(str(file))) == 12


@FORMATS
def test_a_test_split_lies_under_its_own_keys(tmp_path, suffix):
    file = write(tmp_path / f"data{suffix}", {"x": X, "y": Y, "x_test": X[:5], "y_test": Y[:5]})
    assert open_dataset(f"arrays:{file}").splits == ("train", "test")
    assert len(open_dataset(f"arrays:{file}", split="test")) == 5
    assert len(open_dataset(f"arrays:{file}?split=test")) == 5


@FORMATS
def test_a_missing_test_split_is_an_error_and_not_the_training_data(tmp_path, suffix):
    file = write(tmp_path / f"data{suffix}", {"x": X, "y": Y})
    with pytest.raises(DataError, match="x_test"):
        open_dataset(f"arrays:{file}", split="test")


@FORMATS
def test_keys_and_layout_can_be_named(tmp_path, suffix):
    file = write(tmp_path / f"data{suffix}", {"images": X.transpose(0, 2, 3, 1), "labels": Y})
    with pytest.raises(DataError, match="'images', 'labels'"):
        open_dataset(f"arrays:{file}")
    dataset = open_dataset(f"arrays:{file}?x=images&y=labels&layout=nhwc&classes=9")
    assert np.array_equal(everything(dataset)[0].numpy(), X)
    assert dataset.spec.num_classes == 9


@FORMATS
def test_odd_types_are_read_or_refused_alike(tmp_path, suffix):
    bools = write(tmp_path / f"bools{suffix}", {"x": X > 0.5, "y": Y})
    with pytest.raises(DataError, match=r"bool|numbers are read"):
        open_dataset(f"arrays:{bools}")
    small = write(tmp_path / f"small{suffix}", {"x": X.astype(np.float16), "y": Y.astype(np.uint8)})
    assert everything(open_dataset(f"arrays:{small}"))[1].tolist() == Y.tolist()
    empty = write(tmp_path / f"empty{suffix}", {"x": X[:0], "y": Y[:0]})
    with pytest.raises(DataError, match="not a single sample"):
        open_dataset(f"arrays:{empty}")


@FORMATS
def test_every_truncation_ends_in_a_data_error(tmp_path, suffix):
    content = write(tmp_path / f"data{suffix}", {"x": X, "y": Y}).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    lengths = {0, 1, 8, 100, len(content) // 2, len(content) - 1}
    for length in sorted(lengths):
        cut.write_bytes(content[:length])
        with pytest.raises(DataError):
            open_dataset(f"arrays:{cut}")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_any_mutation_ends_in_samples_or_a_data_error(tmp_path, suffix):
    content = write(tmp_path / f"data{suffix}", {"x": X, "y": Y}).read_bytes()
    mutated = tmp_path / f"mutated{suffix}"
    for _ in range(150):
        damaged = bytearray(content)
        for position in RANDOM.integers(0, len(content), 4):
            damaged[position] = RANDOM.integers(256)
        mutated.write_bytes(damaged)
        try:
            everything(open_dataset(f"arrays:{mutated}"))
        except DataError:
            continue


def test_a_mutated_hdf5_file_cannot_take_us_down(tmp_path):
    content = write(tmp_path / "data.h5", {"x": X, "y": Y}).read_bytes()
    mutated = tmp_path / "mutated.h5"
    for _ in range(4):
        damaged = bytearray(content)
        for position in RANDOM.integers(0, len(content), 300):
            damaged[position] = RANDOM.integers(256)
        mutated.write_bytes(damaged)
        with pytest.raises(DataError):
            open_dataset(f"arrays:{mutated}")


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_a_pickle_inside_an_npz_is_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("evil.npz", x=np.array([Attack()], dtype=object), y=Y)
    with pytest.raises(DataError, match="Python objects"):
        open_dataset("arrays:evil.npz")
    with zipfile.ZipFile("raw.npz", "w") as archive:  # np.load would take such a member for a pickle
        archive.writestr("x.npy", pickle.dumps(Attack()))
        archive.writestr("y.npy", pickle.dumps(Attack()))
    with pytest.raises(DataError, match="npz"):
        open_dataset("arrays:raw.npz")
    assert not (tmp_path / "attacked").exists()


def test_an_npz_bomb_is_refused_by_its_header(tmp_path):
    bomb = tmp_path / "bomb.npz"
    np.savez_compressed(bomb, x=np.zeros((300 * 2**20, 1), dtype=np.uint8), y=Y)
    assert bomb.stat().st_size < 2**20
    start = time.monotonic()
    with pytest.raises(DataError, match="claims"):
        open_dataset(f"arrays:{bomb}")
    assert time.monotonic() - start < 2


def npy(shape, content=b""):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue() + content


@pytest.mark.parametrize("shape", [(10**12, 4), (3, 4), (-1, 4), (2**40, 2**40)])
def test_an_array_that_declares_what_it_does_not_hold_is_refused(tmp_path, shape):
    file = tmp_path / "lie.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", npy(shape, bytes(16)))
        archive.writestr("y.npy", npy((1,), bytes(4)))
    with pytest.raises(DataError, match="declares"):
        open_dataset(f"arrays:{file}")


def test_fortran_order_is_kept(tmp_path):
    np.savez(tmp_path / "f.npz", x=np.asfortranarray(X), y=Y)
    assert np.array_equal(everything(open_dataset(f"arrays:{tmp_path / 'f.npz'}"))[0].numpy(), X)


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 17 * 2**20) + b"{}" + bytes(18 * 2**20),
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 60)
        + json.dumps({"x": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4]}}).encode(),
    ],
)
def test_a_lying_safetensors_header_is_refused(tmp_path, head):
    file = tmp_path / "lie.safetensors"
    file.write_bytes(head)
    with pytest.raises(DataError):
        open_dataset(f"arrays:{file}")


def soft(file, elsewhere):
    file["x"] = h5py.SoftLink("/y")


def external_link(file, elsewhere):
    file["x"] = h5py.ExternalLink(str(elsewhere), "x")


def external_storage(file, elsewhere):
    file.create_dataset("x", (12, 4), "f4", external=[(str(elsewhere), 0, 192)])


def virtual(file, elsewhere):
    layout = h5py.VirtualLayout((12, 3, 4, 5), "f4")
    layout[...] = h5py.VirtualSource(str(elsewhere), "x", (12, 3, 4, 5))
    file.create_virtual_dataset("x", layout)


def never_written(file, elsewhere):
    file.create_dataset("x", (10**6, 10**6), "f4", chunks=(100, 100))


def huge_chunk(file, elsewhere):
    file.create_dataset("x", (2**20, 2**10), "f4", chunks=(2**20, 2**9))


def group(file, elsewhere):
    file.create_group("x")


def text(file, elsewhere):
    file["x"] = ["a"] * 12


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (soft, "link that leads elsewhere"),
        (external_link, "link that leads elsewhere"),
        (external_storage, "in other files"),
        (virtual, "virtual dataset"),
        (never_written, "claims 4,000,000,000,000 bytes"),
        (huge_chunk, "above 1 GiB"),
        (group, "is a group"),
        (text, "arrays of numbers are read"),
    ],
)
def test_hdf5_values_from_elsewhere_or_nowhere_are_refused(tmp_path, attack, message):
    elsewhere = write(tmp_path / "elsewhere.h5", {"x": X, "y": Y})
    hostile = tmp_path / "hostile.h5"
    with h5py.File(hostile, "w") as file:
        file["y"] = Y
        attack(file, elsewhere)
    with pytest.raises(DataError, match=message):
        open_dataset(f"arrays:{hostile}")


def test_an_hdf5_reader_that_hangs_is_ended(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr("hessent.foreign.hdf5_process.CHILD", child)
    monkeypatch.setattr("hessent.foreign.hdf5_process.BUSY", 0.2)
    file = write(tmp_path / "data.h5", {"x": X, "y": Y})
    start = time.monotonic()
    with pytest.raises(DataError, match="takes longer"):
        open_dataset(f"arrays:{file}")
    assert time.monotonic() - start < 10


def test_a_large_hdf5_dataset_arrives_whole(tmp_path):
    x = RANDOM.integers(0, 256, (25_000, 1000), dtype=np.uint8)  # more than one slice
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(7, 1000))
        file["y"] = np.zeros(len(x), dtype="i8")
    dataset = open_dataset(f"arrays:{tmp_path / 'large.h5'}")
    inputs, _ = dataset.fetch(torch.tensor([0, 17_000, 24_999]))
    torch.testing.assert_close(inputs * 255, torch.from_numpy(x[[0, 17_000, 24_999]]).float())


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".safetensors"])
def test_only_regular_files_are_opened(tmp_path, suffix):
    pipe, folder, missing = (tmp_path / f"{kind}{suffix}" for kind in ("pipe", "folder", "missing"))
    os.mkfifo(pipe)
    folder.mkdir()
    for path, message in ((pipe, "not a regular file"), (folder, "is a folder"), (missing, "No such file")):
        with pytest.raises(DataError, match=message):
            open_dataset(f"arrays:{path}")


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"\.safetensors, \.npz, \.h5"):
        open_dataset(f"arrays:{tmp_path / 'data.csv'}")


def test_unreadable_files_say_so(tmp_path):
    file = write(tmp_path / "data.npz", {"x": X, "y": Y})
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DataError, match="Permission denied"):
        open_dataset(f"arrays:{file}")
