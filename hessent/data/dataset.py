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
_CHECK_CHUNK = 4096  # samples checked at a time: bounds the memory of the boolean masks


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
        Number of classes; the vocabulary for tokens; None for regression, and where the source does not say.
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
        If there are none, inputs or float targets are not finite, or a label lies outside 0 … classes - 1.  (A
        token's target may be negative: that is how positions are left out, and the loss knows which value.)
    """
    if len(inputs) != len(targets):
        raise DataError(f"{len(inputs)} inputs but {len(targets)} targets", where=where, expected="one target each")
    if len(inputs) == 0:
        raise DataError("there is not a single sample", where=where, fix="give data with at least one sample")
    numbers = torch.arange(len(inputs)) if indices is None else indices
    for what, values in (("input", inputs), ("target", targets)):
        if values.is_floating_point():
            row = _first_row(values, lambda part: ~torch.isfinite(part))
            if row is not None:
                raise DataError(
                    f"the {what} of sample {int(numbers[row])} is NaN or infinite (in float32)",
                    where=where,
                    fix="remove or repair such samples; every loss over this data would be NaN",
                )
    if spec.kind == "tokens":
        _check_range("a token", inputs, spec.num_classes, where, numbers)
        _check_range("a target", targets.clamp(min=0), spec.num_classes, where, numbers)
    elif not targets.is_floating_point():
        _check_range("the label", targets, spec.num_classes, where, numbers)


def _first_row(values: Tensor, is_bad: Callable[[Tensor], Tensor]) -> int | None:
    first = 0
    for chunk in torch.split(values, _CHECK_CHUNK):
        bad = is_bad(chunk).reshape(len(chunk), -1).any(dim=1)
        if bad.any():
            return first + int(bad.nonzero()[0])
        first += len(chunk)
    return None


def _check_range(what: str, values: Tensor, num_classes: int | None, where: str, numbers: Tensor) -> None:
    end = torch.iinfo(torch.int64).max if num_classes is None else num_classes
    row = _first_row(values, lambda part: (part < 0) | (part >= end))
    if row is None:
        return
    bad = values[row].flatten()
    bad = bad[(bad < 0) | (bad >= end)]
    raise DataError(
        f"{what} of sample {int(numbers[row])} is {int(bad[0])}",
        where=where,
        expected="no negative number" if num_classes is None else f"0 to {num_classes - 1}",
        fix="number the classes from 0, or name their right number",
    )
