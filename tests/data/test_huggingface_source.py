"""`hf:` folders, with a stand-in for the package (it is an extra): splits, columns, refusals."""

import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from hessent.data.registry import open_dataset
from hessent.errors import DataError

TRAIN = {"image": [np.full((4, 4), number, dtype=np.uint8) for number in range(6)], "label": [0, 1, 2] * 2}
VALIDATION = {"image": [[0.5, 1.5]] * 2, "label": [0.25, 0.5]}


@pytest.fixture
def package(monkeypatch):
    def install(loaded):
        module = types.ModuleType("datasets")
        module.load_from_disk = lambda path: loaded
        monkeypatch.setitem(sys.modules, "datasets", module)

    return install


class Wrapper:
    """A single table is not a dict, unlike a dictionary of splits."""

    def __init__(self, table, classes=None):
        self._table = table
        self.column_names = list(table)
        self.features = {name: types.SimpleNamespace(num_classes=classes) for name in table}

    def __getitem__(self, column):
        return self._table[column]


def test_images_and_labels_become_one_channel_images(package, tmp_path):
    package(Wrapper(TRAIN))
    dataset = open_dataset(f"hf:{tmp_path}")
    inputs, targets = dataset.fetch(torch.arange(6))
    assert inputs.shape == (6, 1, 4, 4)
    torch.testing.assert_close(inputs[5], torch.full((1, 4, 4), 5 / 255))
    assert targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.splits == ("train",)


@pytest.mark.parametrize(
    ("mode", "shape"), [("RGB", (3, 4, 5)), ("P", (3, 4, 5)), ("RGBA", (3, 4, 5)), ("L", (1, 4, 5))]
)
def test_pillow_images_of_any_mode_have_their_channels_first(package, tmp_path, mode, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    package(Wrapper({"image": [image] * 2, "label": [0, 1]}))
    inputs, _ = open_dataset(f"hf:{tmp_path}").fetch(torch.arange(2))
    expected = np.asarray(image.convert("L" if mode == "L" else "RGB")).reshape(4, 5, -1).transpose(2, 0, 1)
    assert inputs.shape == (2, *shape)
    torch.testing.assert_close(inputs[0], torch.from_numpy(expected / np.float32(255)))


def test_the_number_of_classes_is_the_declared_one(package, tmp_path):
    package(Wrapper(TRAIN, classes=9))
    assert open_dataset(f"hf:{tmp_path}").spec.num_classes == 9
    assert open_dataset(f"hf:{tmp_path}?classes=5").spec.num_classes == 5


def test_validation_serves_as_test_and_lists_are_vectors(package, tmp_path):
    package({"train": Wrapper(TRAIN), "validation": Wrapper(VALIDATION)})
    assert open_dataset(f"hf:{tmp_path}").splits == ("train", "test")
    inputs, targets = open_dataset(f"hf:{tmp_path}", split="test").fetch(torch.arange(2))
    assert inputs.tolist() == [[0.5, 1.5]] * 2
    assert targets.tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("loaded", "query", "message"),
    [
        (Wrapper(TRAIN), "?x=images", "no column 'images'; did you mean 'image'"),
        (Wrapper({"image": [[1.0], [1.0, 2.0]], "label": [0, 1]}), "", "differ in shape"),
        (Wrapper({"image": [Image.new("I;16", (4, 4))], "label": [0]}), "", "mode I;16"),
        (Wrapper({"image": [], "label": []}), "", "shape|not a single sample"),
        ({"validation": Wrapper(TRAIN)}, "", "no split 'train'"),
    ],
)
def test_what_does_not_fit_is_refused(package, tmp_path, loaded, query, message):
    package(loaded)
    with pytest.raises(DataError, match=message):
        open_dataset(f"hf:{tmp_path}{query}")


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'hessent\[hf\]'"):
        open_dataset(f"hf:{tmp_path}")


def test_a_missing_folder_is_told_before_the_package_is_needed(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        open_dataset(f"hf:{tmp_path / 'absent'}")
