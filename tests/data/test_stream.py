"""Laws of the batch stream: replay, subset, cut, fingerprint."""

import pytest
import torch

from hessent.data.dataset import DatasetSpec
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.data.tensors import TensorDataset
from hessent.errors import UsageError


def small(count=23, shift=0.0):
    inputs = torch.arange(count * 3, dtype=torch.float32).reshape(count, 3) + shift
    return TensorDataset(
        name="small", inputs=inputs, targets=torch.arange(count) % 4, spec=DatasetSpec("vectors", (3,), 4)
    )


def joined(stream):
    batches = list(stream)
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def test_every_pass_gives_the_same_batches():
    stream = BatchStream(small(), samples=17, batch_size=5, seed=3)
    first, second = list(stream), list(stream)
    assert len(first) == len(stream) == 4
    for (x, y), (again_x, again_y) in zip(first, second, strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)


@pytest.mark.parametrize("batch_size", [1, 4, 17, 100])
def test_the_batch_size_changes_neither_samples_nor_fingerprint(batch_size):
    stream = BatchStream(small(), samples=17, batch_size=5, seed=3)
    other = stream.with_batch_size(batch_size)
    fresh = BatchStream(small(), samples=17, batch_size=batch_size, seed=3)
    for left, right in zip(joined(stream), joined(other), strict=True):
        assert torch.equal(left, right)
    assert stream.sha256 == other.sha256 == fresh.sha256
    assert sum(len(y) for _, y in other) == other.num_samples == 17


def test_a_subset_is_seeded_and_without_repetition():
    dataset = small(1000)
    indices = BatchStream(dataset, samples=100, batch_size=8, seed=1).indices
    assert torch.equal(indices, indices.unique())
    assert len(indices) == 100
    assert torch.equal(indices, BatchStream(dataset, samples=100, batch_size=9, seed=1).indices)
    assert not torch.equal(indices, BatchStream(dataset, samples=100, batch_size=8, seed=2).indices)


def test_the_subset_does_not_depend_on_the_global_generator():
    torch.manual_seed(1)
    first = BatchStream(small(), samples=9, batch_size=4).indices
    torch.manual_seed(2)
    assert torch.equal(first, BatchStream(small(), samples=9, batch_size=4).indices)


def test_the_subset_of_a_seed_is_frozen():
    # Spectra of earlier versions can only be compared while a seed keeps choosing the same samples.
    assert BatchStream(small(), samples=6, batch_size=4, seed=0).indices.tolist() == [3, 8, 15, 16, 19, 20]


@pytest.mark.parametrize("samples", [None, 17])
def test_samples_come_in_a_random_order_that_the_seed_repeats(samples):
    stream, again = (BatchStream(small(), samples=samples, batch_size=5, seed=3) for _ in range(2))
    _, labels = joined(stream)
    assert torch.equal(labels, stream.order % 4)
    assert torch.equal(stream.order, again.order)
    assert torch.equal(stream.order.sort().values, stream.indices)
    assert not torch.equal(stream.order, stream.indices)
    assert not torch.equal(stream.order, BatchStream(small(), samples=samples, batch_size=5, seed=4).order)


def test_runs_of_data_sorted_by_class_hold_every_class():
    targets = torch.arange(400) // 100
    dataset = TensorDataset(
        name="sorted", inputs=torch.zeros(400, 3), targets=targets, spec=DatasetSpec("vectors", (3,), 4)
    )
    for _, labels in BatchStream(dataset, batch_size=100):
        assert labels.bincount(minlength=4).min() >= 10


@pytest.mark.parametrize(
    ("samples", "seed", "sha256"),
    [
        (None, 0, "a77c509253506e021fda46ce97bdb3347498f23235b101d1e9321c88f0a07156"),
        (None, 1, "a77c509253506e021fda46ce97bdb3347498f23235b101d1e9321c88f0a07156"),
        (6, 0, "8443467272fca9daf6f2dda3f0b853af7b0322401f95b141cdc9dde54f8abf27"),
        (6, 1, "3b394a12548ee173eec1b6f4ecb8909fc76b515bbe1ba054a0d66ae811d52f39"),
    ],
)
def test_the_fingerprint_is_frozen_and_knows_nothing_of_the_order(samples, seed, sha256):
    # Spectra of earlier versions, whose samples came in ascending order, are spectra of the same data.
    assert BatchStream(small(), samples=samples, batch_size=4, seed=seed).sha256 == sha256


@pytest.mark.parametrize("samples", [None, 23, 5000])
def test_all_samples_are_taken_when_that_many_are_asked_for(samples):
    stream = BatchStream(small(), samples=samples, batch_size=10, seed=9)
    assert stream.num_samples == stream.available == 23
    assert stream.indices.tolist() == list(range(23))


def test_the_fingerprint_tells_content_and_subset_apart():
    prints = {
        BatchStream(small(), batch_size=4).sha256,
        BatchStream(small(shift=1e-4), batch_size=4).sha256,
        BatchStream(small(), samples=10, batch_size=4, seed=0).sha256,
        BatchStream(small(), samples=10, batch_size=4, seed=1).sha256,
        BatchStream(open_dataset("digits"), batch_size=4).sha256,
    }
    assert len(prints) == 5


def test_which_samples_were_chosen_is_part_of_the_fingerprint_even_where_all_are_alike():
    alike = TensorDataset(
        name="alike",
        inputs=torch.zeros(50, 3),
        targets=torch.zeros(50, dtype=torch.int64),
        spec=DatasetSpec("vectors", (3,), 1),
    )
    assert len({BatchStream(alike, samples=10, batch_size=4, seed=seed).sha256 for seed in range(3)}) == 3


@pytest.mark.parametrize("bad", [{"samples": 0}, {"samples": -1}, {"batch_size": 0}])
def test_senseless_numbers_are_refused(bad):
    with pytest.raises(UsageError, match="at least 1"):
        BatchStream(small(), **{"batch_size": 4, **bad})
