"""`SampleSequence`: any indexable object of samples (x, y), such as a map-style `torch.utils.data.Dataset`.

Sample i must be the same whenever it is asked for.  Random augmentation breaks that, and is noticed: each sample's
checksum is kept from the first time it was read.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor

from hessent.data.array_pair import as_tensor
from hessent.data.dataset import Dataset, DatasetSpec, Kind, check_samples, digest_of_samples
from hessent.errors import DataError, memory_ran_out


class SampleSequence(Dataset):
    """Samples of an indexable object, read and checked one by one.

    Parameters
    ----------
    samples : object
        With `__len__` and `__getitem__(int)` -> (x, y).  The number of classes is its attribute `num_classes`,
        `vocab_size` or the length of `classes`, where it has one.
    name, split, splits : str, str, tuple of str
        See `Dataset`.

    Raises
    ------
    DataError
        If the first sample is not of the form (x, y).
    """

    def __init__(self, samples: Any, *, name: str, split: str, splits: tuple[str, ...]) -> None:
        self.name, self.split, self.splits = name, split, splits
        self.synthetic, self.licence = False, None
        self._samples = samples
        self._checksums: dict[int, int] = {}
        x, y = self._sample(0)
        self._form = (x.dtype, x.shape, y.dtype, y.shape)
        self.spec = _spec_of(x, y, samples, name)

    def __len__(self) -> int:
        return len(self._samples)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples at `indices`, stacked.

        Raises
        ------
        DataError
            If a sample differs in shape or type from the first one, or from what it was before.
        """
        inputs, targets = [], []
        for index in indices.tolist():
            x, y = self._sample(index)
            if (x.dtype, x.shape, y.dtype, y.shape) != self._form:
                raise DataError(
                    f"sample {index} is x {_describe(x)}, y {_describe(y)}",
                    where=self.name,
                    expected=f"as sample 0: x {_text(*self._form[:2])}, y {_text(*self._form[2:])}",
                )
            self._compare(index, x, y)
            inputs.append(x)
            targets.append(y)
        batch = torch.stack(inputs), torch.stack(targets)
        check_samples(*batch, self.spec, where=self.name, indices=indices)
        return batch

    def digest(self, indices: Tensor | None = None) -> str:
        """Return the sha256 (hex) of the samples."""
        return digest_of_samples(self.fetch, torch.arange(len(self)) if indices is None else indices)

    def _sample(self, index: int) -> tuple[Tensor, Tensor]:
        try:
            sample = self._samples[index]
        except Exception as failure:
            if memory_ran_out(failure):
                raise
            raise DataError(
                f"reading sample {index} failed: {type(failure).__name__}: {failure}", where=self.name
            ) from failure
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise DataError(
                f"sample {index} is a {type(sample).__name__}", where=self.name, expected="a pair (x, y)"
            )
        return _value(sample[0], f"x of sample {index}", self.name), _value(
            sample[1], f"y of sample {index}", self.name
        )

    def _compare(self, index: int, x: Tensor, y: Tensor) -> None:
        checksum = zlib.crc32(y.contiguous().numpy().data, zlib.crc32(x.contiguous().numpy().data))
        if self._checksums.setdefault(index, checksum) != checksum:
            raise DataError(
                f"sample {index} is not what it was when it was read before",
                where=self.name,
                expected="the same samples on every pass",
                fix="turn random augmentation and shuffling off in the factory",
            )


def _value(value: Any, what: str, where: str) -> Tensor:
    if isinstance(value, bool | int | float):
        value = torch.tensor(int(value) if isinstance(value, bool) else value)
    tensor = as_tensor(value, what, where)
    if tensor.dtype == torch.uint8:
        if what.startswith("y"):
            return tensor.to(torch.int64)
        raise DataError(f"{what} is uint8", where=where, expected="floating-point inputs", fix="x.float() / 255")
    return tensor


def _spec_of(x: Tensor, y: Tensor, samples: Any, name: str) -> DatasetSpec:
    if x.ndim == 0 or (x.dtype == torch.int64 and (x.ndim != 1 or y.shape != x.shape)):
        raise DataError(
            f"sample 0 is x {_describe(x)}, y {_describe(y)}",
            where=name,
            expected="floating-point x (features,) or (C, H, W), or tokens x and y (T,)",
        )
    kind: Kind = "tokens" if x.dtype == torch.int64 else "vectors" if x.ndim == 1 else "images"
    classes = None
    if not y.is_floating_point():
        classes = getattr(samples, "num_classes", None) or getattr(samples, "vocab_size", None)
        listed = getattr(samples, "classes", None)
        if classes is None and isinstance(listed, list | tuple):
            classes = len(listed)
    return DatasetSpec(kind, tuple(x.shape), classes if isinstance(classes, int) else None)


def _describe(tensor: Tensor) -> str:
    return _text(tensor.dtype, tensor.shape)


def _text(dtype: torch.dtype, shape: torch.Size) -> str:
    return f"{str(dtype).removeprefix('torch.')} {tuple(shape)}"
