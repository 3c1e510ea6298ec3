"""CIFAR-10: the binary records are read as published, pickles only by the published md5, and arrays only."""

import hashlib
import os
import pickle
import struct

import numpy as np
import pytest
import torch

from hessent.data import cifar10
from hessent.data.registry import open_dataset
from hessent.errors import DataError

RANDOM = np.random.default_rng(0)


def records():
    return RANDOM.integers(0, 10, (10_000, 1), dtype=np.uint8), RANDOM.integers(
        0, 256, (10_000, 3072), dtype=np.uint8
    )


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-bin"
    folder.mkdir()
    labels, pixels = records()
    content = np.concatenate([labels, pixels], axis=1).tobytes()
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        (folder / f"{name}.bin").write_bytes(content)
    return folder, labels, pixels


def test_records_become_normalised_images(binary):
    folder, labels, pixels = binary
    dataset = open_dataset(f"cifar10:{folder}?mean=0.5,0.4,0.3&std=0.25", split="test")
    indices = torch.tensor([0, 17, 9999])
    inputs, targets = dataset.fetch(indices)
    expected = torch.from_numpy(pixels[indices].reshape(3, 3, 32, 32)) / 255
    expected = (expected - torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1)) / 0.25
    torch.testing.assert_close(inputs, expected)
    assert targets.tolist() == labels[indices, 0].tolist()
    assert (dataset.spec.num_classes, dataset.splits) == (10, ("train", "test"))


def test_the_training_split_is_five_files_and_the_outer_folder_serves_too(binary):
    assert len(open_dataset(f"cifar10:{binary[0].parent}")) == 50_000
    assert open_dataset(str(binary[0].parent)).spec.input_shape == (3, 32, 32)


def test_a_file_of_the_wrong_size_is_refused(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(bytes(30_729_999))
    with pytest.raises(DataError, match=r"30,729,999 bytes\n.*30,730,000"):
        open_dataset(f"cifar10:{tmp_path}", split="test")


def test_a_label_above_nine_is_refused(tmp_path):
    content = bytearray(30_730_000)
    content[3073 * 5] = 10
    (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(DataError, match="label of sample 5 is 10"):
        open_dataset(f"cifar10:{tmp_path}", split="test")


def test_a_folder_without_the_files_says_how_to_get_them(tmp_path):
    with pytest.raises(DataError, match="cifar-10-binary"):
        open_dataset(f"cifar10:{tmp_path}")


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_a_pickle_that_is_not_the_published_one_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(DataError, match="binary version"):
        open_dataset(f"cifar10:{tmp_path}", split="test")
    assert not (tmp_path / "attacked").exists()


def test_even_behind_the_right_md5_only_arrays_are_unpacked(tmp_path, monkeypatch):
    content = pickle.dumps(Attack())
    (tmp_path / "test_batch").write_bytes(content)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(cifar10._PUBLISHED_MD5, "test_batch", digest)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        open_dataset(f"cifar10:{tmp_path}", split="test")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("old_module", [False, True])
def test_the_published_pickles_give_what_the_binary_version_gives(tmp_path, monkeypatch, binary, old_module):
    folder, labels, pixels = binary
    content = pickle.dumps({"data": pixels, "labels": labels[:, 0].tolist()}, protocol=3)
    if (
        old_module
    ):  # as published: by Python 2, whose strings were bytes, when numpy had its internals in numpy.core
        length = struct.pack("<I", pixels.size)
        content = content.replace(b"B" + length, b"T" + length).replace(b"\x80\x03", b"\x80\x02", 1)
        content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(cifar10._PUBLISHED_MD5, "test_batch", digest)
    python = open_dataset(f"cifar10:{tmp_path}", split="test")
    assert python.digest() == open_dataset(f"cifar10:{folder}", split="test").digest()
