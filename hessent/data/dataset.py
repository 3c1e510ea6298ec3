"""`Dataset`: a fixed, indexable collection of samples, read in any order and as often as wanted.

Whatever the source, a dataset hands out batches in one form: inputs float32 (token inputs int64), targets int64
for class labels and next tokens or float32 for regression.  Sample `i` is the same on every pass; that is what
makes a Hessian product a function of the vector alone.  `digest` fingerprints the samples and what is done to
them, not the file they came from: the same data kept in two formats has one fingerprint.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hessent.errors import DataError

Kind = Literal["images", "vectors", "tokens"]

_DIGEST_CHUNK = 256  # samples hashed at a time: bounds memory, does not enter the digest


@dataclass(frozen=True)
class DatasetSpec:
    """What one sample looks like.

    Attributes
    ----------
    kind : {"images", "vectors", "tokens"}
        Images are (channels, height, width), vectors (features,), tokens (block,).
    input_shape : tuple of int
        Shape of one input, without the batch axis.
    num_classes : int or None
        Number of classes; the vocabulary for tokens; None for regression.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    num_classes: int | None


class Dataset(ABC):
    """Interface of every source of data; it has no state of its own.

    Attributes
    ----------
    name : str
        As the user typed it.
    spec : DatasetSpec
        Shape of a sample and number of classes.
    split : str
        The split these samples are ("train", "test", "all").
    splits : tuple of str
        The splits that can be opened under the same name; look here before asking for "test".
    synthetic : bool
        True where the samples are made up by a random generator.
    licence : str or None
        Licence and origin of shipped data.
    """

    name: str
    spec: DatasetSpec
    split: str
    splits: tuple[str, ...]
    synthetic: bool
    licence: str | None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples at `indices`.

        Parameters
        ----------
        indices : Tensor
            (B,) int64, each in 0 … len - 1.

        Returns
        -------
        inputs, targets : Tensor
            (B, …) each, on the CPU.

        Raises
        ------
        DataError
            If a sample cannot be read, is not finite, or is not what it was on an earlier pass.
        """

    @abstractmethod
    def digest(self, indices: Tensor | None = None) -> str:
        """Return the sha256 (hex) of the samples at `indices` (None: all of them), in that order."""


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


class TensorDataset(Dataset):
    """Samples held in memory, normalised as they are fetched (bytes stay bytes until then).

    Parameters
    ----------
    name : str
        As the user typed it.
    inputs, targets : Tensor
        (N, …) each; uint8 or float inputs, int64 tokens; int64 or float32 targets.
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
        self.name, self.spec, self.split, self.splits = name, spec, split, splits
        self.synthetic, self.licence = synthetic, licence
        check_samples(inputs, targets, spec, where=name)
        self._inputs, self._targets, self._normalization = inputs, targets, normalization

    def __len__(self) -> int:
        return len(self._targets)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples at `indices`: normalised inputs and targets, (B, …) each."""
        inputs = self._inputs[indices]
        if self._normalization is not None:
            inputs = self._normalization.apply(inputs)
        return inputs, self._targets[indices]

    def digest(self, indices: Tensor | None = None) -> str:
        """Return the sha256 (hex) of the stored samples and of the normalisation."""
        if indices is None:
            indices = torch.arange(len(self))
        return digest_of_samples(self._stored, indices, form=repr(self._normalization))

    def _stored(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self._inputs[indices], self._targets[indices]


def digest_of_samples(read: Callable[[Tensor], tuple[Tensor, Tensor]], indices: Tensor, *, form: str = "") -> str:
    """Return the sha256 (hex) of samples before normalisation, whose rounding may differ between machines.

    Parameters
    ----------
    read : callable
        Returns (inputs, targets), (B, …) each, for (B,) indices.
    indices : Tensor
        (N,) int64; they set the order, but do not enter the digest themselves.
    form : str
        What is done to the samples afterwards.
    """
    inputs_digest, targets_digest = hashlib.sha256(), hashlib.sha256()
    for chunk in torch.split(indices, _DIGEST_CHUNK):
        inputs, targets = read(chunk)
        inputs_digest.update(_bytes_of(inputs))
        targets_digest.update(_bytes_of(targets))
    shapes = f"{inputs.dtype} {tuple(inputs.shape[1:])} {targets.dtype} {tuple(targets.shape[1:])} {len(indices)}"
    whole = f"{shapes} {form} {inputs_digest.hexdigest()} {targets_digest.hexdigest()}"
    return hashlib.sha256(whole.encode()).hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.contiguous().numpy().data


def check_samples(
    inputs: Tensor, targets: Tensor, spec: DatasetSpec, *, where: str, indices: Tensor | None = None
) -> None:
    """Refuse samples that no loss can be computed of.

    Parameters
    ----------
    inputs, targets : Tensor
        (B, …) each.
    spec : DatasetSpec
        What the samples should look like.
    where : str
        The data's name, for the message.
    indices : Tensor, optional
        (B,) sample numbers for the message; by default 0 … B - 1.

    Raises
    ------
    DataError
        If there are none, inputs or float targets are not finite, or a label lies outside 0 … classes - 1.
    """
    if len(inputs) == 0:
        raise DataError("there is not a single sample", where=where, fix="give data with at least one sample")
    if len(inputs) != len(targets):
        raise DataError(f"{len(inputs)} inputs but {len(targets)} targets", where=where, expected="one target each")
    numbers = torch.arange(len(inputs)) if indices is None else indices
    for what, values in (("input", inputs), ("target", targets)):
        row = _first_bad_row(values)
        if row is not None:
            raise DataError(
                f"the {what} of sample {int(numbers[row])} is NaN or infinite",
                where=where,
                fix="remove or repair such samples; every loss over this data would be NaN",
            )
    if spec.num_classes is not None:
        _check_labels(targets, spec.num_classes, where, numbers)


def _first_bad_row(values: Tensor) -> int | None:
    if not values.is_floating_point():
        return None
    first = 0
    for chunk in torch.split(values, 4096):  # bounds the memory of the boolean mask
        bad = ~torch.isfinite(chunk).reshape(len(chunk), -1).all(dim=1)
        if bad.any():
            return first + int(bad.nonzero()[0])
        first += len(chunk)
    return None


def _check_labels(targets: Tensor, num_classes: int, where: str, numbers: Tensor) -> None:
    if targets.is_floating_point():
        return
    rows = targets.reshape(len(targets), -1)
    bad = (rows < 0) | (rows >= num_classes)
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        raise DataError(
            f"the label of sample {int(numbers[row])} is {int(rows[row, column])}",
            where=where,
            expected=f"labels 0 to {num_classes - 1}",
            fix="renumber the labels from 0, or name the right number of classes",
        )
