"""Factories of the user's: what they may return, how they are called, and what is noticed about them."""

import pytest
import torch

from hessent.data.dataset import Dataset
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import DataError

FILE = """
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

X, Y = torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])

class Lazy(torch.utils.data.Dataset):
    classes = ["a", "b", "c"]
    def __len__(self): return 6
    def __getitem__(self, index): return X[index], int(Y[index])

class Augmented(Lazy):
    def __getitem__(self, index): return X[index] + torch.rand(2), int(Y[index])

class Ragged(Lazy):
    def __getitem__(self, index): return X[index, : 2 - index % 2], int(Y[index])

class Broken(Lazy):
    def __getitem__(self, index):
        if index == 4: raise KeyError("gone")
        return super().__getitem__(index)

class Poisoned(Lazy):
    def __getitem__(self, index):
        return X[index] / (0 if index == 3 else 1), 0

class Mislabelled(Lazy):
    def __getitem__(self, index): return X[index], 3 if index == 5 else 0

class Texts(Lazy):
    def __getitem__(self, index): return "text", 0

class Tokens(torch.utils.data.Dataset):
    vocab_size = 40
    def __len__(self): return 4
    def __getitem__(self, index):
        return torch.arange(5) + index, torch.arange(1, 6) + index

class Regression(Lazy):
    def __getitem__(self, index): return X[index].numpy(), 0.5

class NumpyLabels(Lazy):
    def __getitem__(self, index): return X[index].numpy(), np.int64(Y[index])

def pair(): return X, Y
def numpy_pair(): return [X.numpy(), Y.numpy()]
def listed(): return [(x, int(y)) for x, y in zip(X, Y)]
def tensor_dataset(): return TensorDataset(X, Y)
def lazy(): return Lazy()
def numpy_labels(): return NumpyLabels()
def augmented(): return Augmented()
def ragged(): return Ragged()
def broken(): return Broken()
def poisoned(): return Poisoned()
def mislabelled(): return Mislabelled()
def texts(): return Texts()
def tokens(): return Tokens()
def regression(): return Regression()
def loader(): return DataLoader(Lazy())
class Stream(IterableDataset):
    def __iter__(self): return iter([])

def stream(): return Stream()
def mapping(): return {"x": X}
def empty(): return []
def fails(): raise RuntimeError("no disk")
def with_split(split): return (X, Y) if split == "train" else (X[:2], Y[:2])
def with_options(count, scale=1.0, kind="a"):
    assert isinstance(count, int) and isinstance(scale, float) and isinstance(kind, str)
    return X[:count] * scale, Y[:count]
def anything(**options): return X[: options["count"]], Y[: options["count"]]
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_data.py"
    path.write_text(FILE)
    return path


def everything(dataset):
    return dataset.fetch(torch.arange(len(dataset)))


@pytest.mark.parametrize(
    "factory", ["pair", "numpy_pair", "listed", "tensor_dataset", "lazy", "with_split", "numpy_labels"]
)
def test_every_form_gives_the_same_samples(file, factory):
    dataset = open_dataset(f"{file}:{factory}")
    inputs, targets = everything(dataset)
    assert inputs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert (dataset.spec.kind, dataset.spec.input_shape, dataset.spec.num_classes) == ("vectors", (2,), 3)
    assert dataset.name == f"{file}:{factory}"
    assert dataset.digest() == open_dataset(f"{file}:pair").digest()


def test_a_module_in_the_current_folder_is_found(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert len(open_dataset("my_data:pair")) == 6


def test_a_hessent_dataset_is_taken_as_it_is(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("from hessent.data.registry import open_dataset\ndef make(): return open_dataset('digits')\n")
    dataset = open_dataset(f"{file}:make")
    assert isinstance(dataset, Dataset)
    assert dataset.name == "digits"


def test_tokens_and_regression_are_told_by_their_types(file):
    tokens = open_dataset(f"{file}:tokens")
    assert (tokens.spec.kind, tokens.spec.input_shape, tokens.spec.num_classes) == ("tokens", (5,), 40)
    regression = open_dataset(f"{file}:regression")
    assert regression.spec.num_classes is None
    assert everything(regression)[1].tolist() == [0.5] * 6


def test_splits_exist_where_the_factory_takes_one(file):
    assert open_dataset(f"{file}:with_split").splits == ("train", "test")
    assert len(open_dataset(f"{file}:with_split", split="test")) == 2
    assert len(open_dataset(f"{file}:with_split?split=test")) == 2
    assert open_dataset(f"{file}:pair").splits == ("train",)
    with pytest.raises(DataError, match="no split 'test'"):
        open_dataset(f"{file}:pair", split="test")


def test_parameters_reach_the_factory_as_numbers_and_text(file):
    inputs, _ = everything(open_dataset(f"{file}:with_options?count=3&scale=0.5&kind=b"))
    assert inputs.tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    assert len(open_dataset(f"{file}:anything?count=4")) == 4


def test_random_augmentation_is_noticed_on_the_second_pass(file):
    stream = BatchStream(open_dataset(f"{file}:augmented"), batch_size=4)
    assert len(list(stream)) == 2
    with pytest.raises(DataError, match=r"not what it was.*\n.*every pass\n.*augmentation"):
        list(stream)


def test_a_steady_dataset_passes_again_and_again_however_it_is_cut(file):
    stream = BatchStream(open_dataset(f"{file}:lazy"), batch_size=4)
    assert len(stream.sha256) == 64
    assert sum(len(targets) for size in (1, 4, 6) for _, targets in stream.with_batch_size(size)) == 18


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("pear", "has no 'pear'; did you mean 'pair'"),
        ("number", "expected: a function"),
        ("loader", "return its .dataset"),
        ("stream", "a torch Dataset with a length"),
        ("mapping", "returned a dict"),
        ("empty", "not a single sample"),
        ("fails", "the factory failed: RuntimeError: no disk"),
        ("broken", "reading sample 4 failed: KeyError"),
        ("ragged", r"sample 1 is x float32 \(1,\)"),
        ("poisoned", "input of sample 3 is NaN or infinite"),
        ("mislabelled", r"label of sample 5 is 3\n.*0 to 2"),
        ("texts", "x of sample 0 is str"),
        ("with_options?scale=2", "needs 'count'"),
        ("with_options?count=3&scal=2", "takes no 'scal'; did you mean 'scale'"),
        ("pair?count", "not of the form key=value"),
    ],
)
def test_what_is_wrong_is_told_with_the_sample(file, factory, message):
    with pytest.raises(DataError, match=message) as caught:
        everything(open_dataset(f"{file}:{factory}"))
    assert str(file) in str(caught.value)


def test_the_sample_named_is_its_number_in_the_data_not_in_the_batch(file):
    with pytest.raises(DataError, match="sample 5 is 3"):
        open_dataset(f"{file}:mislabelled").fetch(torch.tensor([1, 5]))


def test_a_file_that_fails_to_import_is_an_input_error(tmp_path):
    (tmp_path / "bad.py").write_text("import no_such_package_at_all\n")
    for name, message in [
        (f"{tmp_path / 'bad.py'}:make", "ModuleNotFoundError"),
        (f"{tmp_path / 'absent.py'}:make", "there is no file"),
        ("no_such_package_at_all:make", "ModuleNotFoundError"),
        ("digit:make", "did you mean 'digits'"),
    ]:
        with pytest.raises(DataError, match=message):
            open_dataset(name)


def test_a_file_is_imported_once_and_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("import torch\nX = torch.zeros(3, 2)\n")
    (tmp_path / "main_data.py").write_text(
        "from neighbour_of_mine import X\ncalls = []\n"
        "def make():\n    calls.append(1)\n    return X[: len(calls)], X[: len(calls), 0]\n"
    )
    assert [len(open_dataset(f"{tmp_path / 'main_data.py'}:make")) for _ in range(3)] == [1, 2, 3]
