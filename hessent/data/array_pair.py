"""Data held in memory: a pair of arrays (x, y) becomes a dataset by a few fixed rules.

x float (N, F)                      vectors, float32
x float or uint8 (N, C, H, W)       images; uint8 is divided by 255
x float or uint8 (N, H, W)          images of one channel
x integer (N, T), y the same shape  tokens and their targets
y integer (N,)                      class labels; as many classes as the largest label + 1 unless said
y float (N,) or (N, …)              regression targets, float32
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hessent.data.dataset import Dataset, DatasetSpec
from hessent.data.tensors import Normalization, TensorDataset
from hessent.errors import DataError

Layout = Literal["auto", "nchw", "nhwc"]


def dataset_of_arrays(
    x: Any,
    y: Any,
    *,
    name: str,
    split: str = "train",
    splits: tuple[str, ...] = ("train",),
    classes: int | None = None,
    normalize: tuple[float, ...] | None = None,
    layout: Layout = "auto",
) -> Dataset:
    """Make a dataset of two arrays by the rules at the top of this file.

    Parameters
    ----------
    x, y : Tensor or ndarray
        (N, …) each.
    name, split, splits : str, str, tuple of str
        See `Dataset`.
    classes : int, optional
        Number of classes (vocabulary for tokens); by default the largest label + 1.
    normalize : tuple of float, optional
        (mean, std), applied after the division of uint8 by 255.
    layout : {"auto", "nchw", "nhwc"}
        Where the channels of four-dimensional x stand; "auto" is nchw, but refuses what looks like nhwc.

    Returns
    -------
    Dataset
        In memory.

    Raises
    ------
    DataError
        If a shape or type follows no rule, or a sample cannot be used.
    """
    inputs, targets = as_tensor(x, "x", name), as_tensor(y, "y", name)
    for key, tensor in (("x", inputs), ("y", targets)):
        if tensor.ndim == 0:
            raise DataError(
                f"{key} is a single number", where=name, expected=f"{key} with samples along its first axis"
            )
    if inputs.dtype == torch.int64:
        return _tokens(inputs, targets, name, split, splits, classes)
    targets = targets.to(torch.int64) if targets.dtype == torch.uint8 else targets
    if not targets.is_floating_point() and targets.ndim != 1:
        raise DataError(
            f"y holds integers of shape {tuple(targets.shape)}",
            where=name,
            expected="labels (N,); floating-point numbers for regression",
            fix="y.reshape(-1) for labels in a column, y.argmax(1) for one-hot rows",
        )
    inputs = _channels_first(inputs, layout, name)
    if not targets.is_floating_point() and classes is None and len(targets):
        classes = int(targets.max()) + 1
    if targets.is_floating_point():
        classes = None
    scale = 1 / 255 if inputs.dtype == torch.uint8 else 1.0
    mean, std = _mean_and_std(normalize, name)
    plain = (scale, mean, std) == (1.0, 0.0, 1.0)
    return TensorDataset(
        name=name,
        inputs=inputs,
        targets=targets,
        spec=DatasetSpec("vectors" if inputs.ndim == 2 else "images", tuple(inputs.shape[1:]), classes),
        split=split,
        splits=splits,
        normalization=None if plain else Normalization(scale, (mean,), (std,)),
    )


def as_tensor(value: Any, what: str, where: str) -> Tensor:
    """Return an array or tensor as float32, uint8 or int64 on the CPU.

    Raises
    ------
    DataError
        If it is no array of numbers.
    """
    if isinstance(value, Tensor):
        if value.dtype == torch.uint8:
            return _plain(value, torch.uint8)
        if value.is_floating_point():
            return _plain(value, torch.float32)
        if not value.is_complex() and value.dtype != torch.bool:
            return _plain(value, torch.int64)
        raise _not_numbers(what, str(value.dtype).removeprefix("torch."), where)
    if not isinstance(value, np.ndarray | np.generic):
        raise _not_numbers(what, type(value).__name__, where)
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise _not_numbers(what, str(array.dtype), where)
    kept = {"f": np.float32}.get(array.dtype.kind, np.uint8 if array.dtype == np.uint8 else np.int64)
    with np.errstate(over="ignore"):  # what overflows float32 becomes infinite and is refused by name later
        array = array.astype(kept, order="C", copy=False)  # keeps a single number one
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _plain(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=dtype).contiguous()


def _not_numbers(what: str, found: str, where: str) -> DataError:
    return DataError(
        f"{what} is {found}",
        where=where,
        expected="an array of floating-point numbers or integers",
        fix="convert it",
    )


def _tokens(
    inputs: Tensor, targets: Tensor, name: str, split: str, splits: tuple[str, ...], vocabulary: int | None
) -> Dataset:
    if targets.dtype != torch.int64 or targets.shape != inputs.shape or inputs.ndim != 2:
        raise DataError(
            f"x holds integers of shape {tuple(inputs.shape)}, y has shape {tuple(targets.shape)}",
            where=name,
            expected="tokens: x and y integers of one shape (N, T)",
            fix="store features as float32 and pixels as uint8",
        )
    if vocabulary is None and inputs.numel():
        vocabulary = int(max(inputs.max(), targets.max())) + 1
    spec = DatasetSpec("tokens", tuple(inputs.shape[1:]), vocabulary)
    return TensorDataset(name=name, inputs=inputs, targets=targets, spec=spec, split=split, splits=splits)


def _channels_first(inputs: Tensor, layout: Layout, name: str) -> Tensor:
    if inputs.ndim == 3:
        return inputs.unsqueeze(1)  # (N, H, W) -> (N, 1, H, W)
    if inputs.ndim not in (2, 4):
        raise DataError(
            f"x has shape {tuple(inputs.shape)}",
            where=name,
            expected="(N, features), (N, H, W), (N, C, H, W), or integer tokens (N, T)",
            fix="reshape it, or give a factory that returns what the model takes",
        )
    if inputs.ndim == 2:
        return inputs
    if layout == "nhwc":
        return inputs.permute(0, 3, 1, 2).contiguous()
    if layout == "auto" and inputs.shape[-1] in (1, 3, 4) and inputs.shape[1] not in (1, 3, 4):
        raise DataError(
            f"x has shape {tuple(inputs.shape)}: the channels seem to stand last",
            where=name,
            fix="add the parameter layout=nhwc (or layout=nchw if they do stand second)",
        )
    return inputs


def _mean_and_std(normalize: tuple[float, ...] | None, name: str) -> tuple[float, float]:
    if normalize is None:
        return 0.0, 1.0
    if len(normalize) != 2:
        raise DataError(f"normalize has {len(normalize)} numbers", where=name, expected="normalize=MEAN,STD")
    return normalize[0], normalize[1]
