"""What is not finite, named before or where it does harm: weights, inputs, and the sample that spoils a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hessent.curvature.containers import map_tensors, num_samples
from hessent.errors import DataError, NonFiniteError

_MOST_NAMED = 20


def refuse_weights(model: nn.Module) -> None:
    """Refuse a model with weights or buffers that are not finite.

    Raises
    ------
    NonFiniteError
        Naming the tensors, with the numbers of NaN and infinite values.
    """
    problems: list[str] = []
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not is_finite(tensor):
            problems.append(f"'{name}': {counts(tensor)} of {tensor.numel():,} values")
    if problems:
        rest = len(problems) - _MOST_NAMED
        raise NonFiniteError(
            f"{len(problems):,} tensors of the model hold values that are not finite numbers",
            problems=[*problems[:_MOST_NAMED], *([f"and {rest:,} more"] if rest > 0 else [])],
            fix="an earlier checkpoint: the run had diverged; or --dtype float64 if the values exceed float32",
        )


def refuse_samples(inputs: Any, targets: Any, index: int, title: Callable[[int], str]) -> None:
    """Refuse a micro-batch with inputs or targets that are not finite.

    Parameters
    ----------
    inputs, targets
        The micro-batch.
    index : int
        Its number.
    title : callable
        How a sample of it is called.

    Raises
    ------
    DataError
        Naming the first such sample.
    """
    for what, value in (("inputs", inputs), ("targets", targets)):

        def check(tensor: Tensor, what: str = what) -> Tensor:
            if not is_finite(tensor):
                rows = (~torch.isfinite(tensor)).reshape(len(tensor), -1).any(dim=1) if tensor.ndim > 0 else None
                row = 0 if rows is None else int(rows.nonzero()[0])
                raise DataError(
                    f"the {what} of micro-batch {index} hold {counts(tensor)} values",
                    problems=[f"first in {title(row)}"],
                    expected="finite numbers",
                    fix="remove or repair such samples; every loss over this data would be NaN",
                )
            return tensor

        map_tensors(value, check)


def first_bad_sample(loss: Callable[[int], float], inputs: Any) -> int | None:
    """Return the number, in its micro-batch, of the first sample whose own loss is not finite; None if all are.

    Parameters
    ----------
    loss : callable
        Loss of the sample of a number.
    inputs
        The micro-batch.
    """
    bad = (row for row in range(num_samples(inputs)) if not abs(loss(row)) < float("inf"))
    return next(bad, None)


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are finite."""
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def counts(tensor: Tensor) -> str:
    """Say how many NaN and infinite values there are."""
    nan, infinite = int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum())
    return f"{nan:,} NaN and {infinite:,} infinite"
