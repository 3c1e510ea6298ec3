"""What a loss asks of targets before any product is spent: types, shapes, and labels within the model's classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hessent.errors import ArchitectureError, DataError


def dtype_name(tensor: Tensor) -> str:
    """Return the dtype as users write it: "float32"."""
    return str(tensor.dtype).removeprefix("torch.")


def shapes_differ(name: str, outputs: Tensor, targets: Tensor, expected: str, where: str) -> DataError:
    """Return the error for outputs and targets whose shapes do not belong together."""
    return DataError(
        f"{name} cannot compare outputs {tuple(outputs.shape)} with targets {tuple(targets.shape)}",
        where=where,
        expected=expected,
        fix="data or a --loss that fits the model's outputs",
    )


def check_tensors(outputs: Any, targets: Any, name: str, where: str) -> None:
    """Refuse outputs or targets that are no tensors.

    Raises
    ------
    DataError
        If either is of another type.
    ArchitectureError
        If the outputs are not real numbers.
    """
    for what, value in (("the model's output", outputs), ("the target", targets)):
        if not isinstance(value, Tensor):
            raise DataError(
                f"{what} is a {type(value).__name__}",
                where=where,
                expected=f"a tensor, for the loss {name}",
                fix="--loss package.module:function with a function that knows this form",
            )
    if not outputs.is_floating_point():
        raise ArchitectureError(
            f"the model's output is {dtype_name(outputs)}", where=where, expected="real numbers"
        )


def check_integers(targets: Tensor, name: str, where: str) -> None:
    """Refuse targets that are not int64.

    Raises
    ------
    DataError
        With the dtype found.
    """
    if targets.dtype != torch.int64:
        raise DataError(
            f"{name} needs targets that are class indices (int64), found {dtype_name(targets)}",
            where=where,
            fix="give class indices (argmax of one-hot rows), or --loss mse for regression",
        )


def check_labels(targets: Tensor, valid: Tensor, num_classes: int, where: str) -> None:
    """Refuse labels outside 0 … num_classes - 1 among those where `valid` is True.

    Raises
    ------
    DataError
        With the worst label found and the range.
    """
    labels = targets[valid]
    if labels.numel() == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise DataError(
            f"a label is {low}",
            where=where,
            expected=f"labels 0 to {num_classes - 1}",
            fix="number the labels from 0; for next-token, mark positions to leave out by ignore_index",
        )
    if high >= num_classes:
        raise DataError(
            f"the model has {num_classes} outputs, the data has labels up to {high}",
            where=where,
            expected=f"labels 0 to {num_classes - 1}",
            fix="the data the model was trained on, or an architecture with enough classes",
        )
