"""`Subset`: some samples of a dataset, as a dataset of their own."""

from __future__ import annotations

from torch import Tensor

from hessent.data.dataset import Dataset


class Subset(Dataset):
    """The samples of a dataset at some indices, in their order.

    Parameters
    ----------
    dataset : Dataset
        Where the samples come from; name, split, splits and the shape of a sample are its own.
    indices : Tensor
        (N,) int64, at least one.
    """

    def __init__(self, dataset: Dataset, indices: Tensor) -> None:
        self.name, self.spec, self.split, self.splits = dataset.name, dataset.spec, dataset.split, dataset.splits
        self.synthetic, self.licence = dataset.synthetic, dataset.licence
        self._dataset = dataset
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples at `indices`, counted within the subset."""
        return self._dataset.fetch(self._indices[indices])

    def digest(self, indices: Tensor | None = None) -> str:
        """Return the digest that the dataset has of these samples."""
        return self._dataset.digest(self._indices if indices is None else self._indices[indices])
