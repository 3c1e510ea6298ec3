"""`TensorDataset`: samples held in memory, and the normalisation applied as they are fetched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hessent.data.dataset import Dataset, DatasetSpec, check_samples, digest_of_samples
from hessent.errors import DataError


@dataclass(frozen=True)
class Normalization:
    """The fixed map (x · scale - mean) / std that turns stored inputs into float32 ones, channel by channel."""

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def apply(self, inputs: Tensor) -> Tensor:
        """Return the normalised inputs, (B, C, …) float32; one mean and std serve all C, or there are C of each."""
        shape = (1, -1) + (1,) * (inputs.ndim - 2)
        mean = torch.tensor(self.mean, dtype=torch.float32).reshape(shape)
        std = torch.tensor(self.std, dtype=torch.float32).reshape(shape)
        return (inputs.to(torch.float32) * self.scale - mean) / std

    def check(self, channels: int, where: str) -> None:
        """Refuse a normalisation that does not fit the channels.

        Raises
        ------
        DataError
            If there are neither one nor `channels` means and deviations, or a deviation is not positive.
        """
        problems = [
            f"{len(values)} values for the {what} of {channels} channels"
            for what, values in (("mean", self.mean), ("std", self.std))
            if len(values) not in (1, channels)
        ]
        if min(self.std) <= 0:
            problems.append(f"a std of {min(self.std):g}")
        if problems:
            expected = f"one value or {channels}, separated by commas; every std above 0"
            raise DataError("the normalisation does not fit", where=where, problems=problems, expected=expected)


class TensorDataset(Dataset):
    """Samples held in memory, normalised as they are fetched (bytes stay bytes until then).

    Parameters
    ----------
    name : str
        As the user typed it.
    inputs, targets : Tensor
        (N, …) each; uint8 or float32 inputs, int64 tokens; int64 or float32 targets.
    spec : DatasetSpec
        Shape of a sample and number of classes.
    split, splits : str, tuple of str
        See `Dataset`.
    normalization : Normalization, optional
        Applied to every batch of inputs; None leaves them alone.
    synthetic, licence : bool, str or None
        See `Dataset`.

    Raises
    ------
    DataError
        If there is no sample, an input or target is not finite, or a label is out of range; the sample's index
        is named.
    """

    def __init__(
        self,
        *,
        name: str,
        inputs: Tensor,
        targets: Tensor,
        spec: DatasetSpec,
        split: str = "train",
        splits: tuple[str, ...] = ("train",),
        normalization: Normalization | None = None,
        synthetic: bool = False,
        licence: str | None = None,
    ) -> None:
        check_samples(inputs, targets, spec, where=name)
        if normalization is not None:
            normalization.check(inputs.shape[1], name)
        self.name, self.spec, self.split, self.splits = name, spec, split, splits
        self.synthetic, self.licence = synthetic, licence
        self._inputs, self._targets, self._normalization = inputs, targets, normalization

    def __len__(self) -> int:
        return len(self._targets)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples at `indices`: normalised inputs and targets, (B, …) each."""
        inputs, targets = self._stored(indices)
        return (inputs if self._normalization is None else self._normalization.apply(inputs)), targets

    def digest(self, indices: Tensor | None = None) -> str:
        """Return the sha256 (hex) of the stored samples and of the normalisation."""
        if indices is None:
            indices = torch.arange(len(self))
        form = "" if self._normalization is None else repr(self._normalization)
        return digest_of_samples(self._stored, indices, form=form)

    def _stored(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self._inputs[indices], self._targets[indices]
