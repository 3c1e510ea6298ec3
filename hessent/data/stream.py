"""`BatchStream`: the chosen samples of a dataset in batches, the same on every pass.

A stream is what curvature is computed over: num_samples of them, chosen once (all, or a seeded random subset
without replacement), then cut into batches.  How they are cut changes no result as long as sums are weighted by
samples, so the batch size can be changed at any time; it is not part of the fingerprint.

Samples come in a seeded random order, also where all of them are used: files are often sorted by class, and any
contiguous run of the stream must be a random part of it, so that the differences between such groups tell the
error of having just these samples.  The order is not part of the fingerprint either.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from hessent.data.dataset import Dataset, DatasetSpec
from hessent.errors import UsageError


class BatchStream:
    """Replayable batches of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Where the samples come from.
    samples : int, optional
        How many to use.  None, or a number not below the dataset's size, uses all; fewer takes a random subset
        without replacement.
    batch_size : int
        Samples per batch; the last batch holds the rest.
    seed : int
        Seed of the subset and of the order.

    Attributes
    ----------
    order : Tensor
        (num_samples,) int64: the samples chosen, in the order in which they come.
    indices : Tensor
        (num_samples,) int64: the same, ascending.
    num_samples, available : int
        Samples chosen, and samples in the dataset.

    Raises
    ------
    UsageError
        If `samples` or `batch_size` is below one.
    """

    def __init__(self, dataset: Dataset, *, samples: int | None = None, batch_size: int, seed: int = 0) -> None:
        if samples is not None and samples < 1:
            raise UsageError(f"samples is {samples}", expected="at least 1, or none given for all of them")
        self._dataset = dataset
        self.available = len(dataset)
        self.num_samples = self.available if samples is None else min(samples, self.available)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        self.order = torch.randperm(self.available, generator=generator)[: self.num_samples]
        self.indices = self.order.sort().values
        self.batch_size = _checked_batch_size(batch_size)

    @property
    def dataset(self) -> Dataset:
        """The dataset behind the stream."""
        return self._dataset

    @property
    def name(self) -> str:
        """The data's name as the user typed it."""
        return self._dataset.name

    @property
    def spec(self) -> DatasetSpec:
        """What one sample looks like."""
        return self._dataset.spec

    @property
    def synthetic(self) -> bool:
        """Whether the samples are made up by a random generator."""
        return self._dataset.synthetic

    @cached_property
    def sha256(self) -> str:
        """Fingerprint (hex) of the samples' content and of their indices; reads every chosen sample once."""
        digest = hashlib.sha256(self._dataset.digest(self.indices).encode())
        digest.update(self.indices.numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets), (B, …) each, in random order, the same on every pass."""
        for indices in torch.split(self.order, self.batch_size):
            yield self._dataset.fetch(indices)

    def with_batch_size(self, batch_size: int) -> BatchStream:
        """Return the same samples in the same order, cut into batches of another size."""
        other = copy.copy(self)  # a fingerprint already computed goes along
        other.batch_size = _checked_batch_size(batch_size)
        return other


def _checked_batch_size(batch_size: int) -> int:
    if batch_size < 1:
        raise UsageError(f"the batch size is {batch_size}", expected="at least 1")
    return batch_size
