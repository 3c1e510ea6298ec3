"""A function of the user's as a loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from hessent.curvature.containers import shapes
from hessent.curvature.losses.loss import Loss
from hessent.errors import DataError, UsageError, memory_ran_out


class CallableLoss(Loss):
    """A function of the user's that returns the mean over the samples of a micro-batch."""

    def __init__(self, function: Callable[[Any, Any], Tensor], name: str) -> None:
        reduction = getattr(function, "reduction", "mean")
        if isinstance(function, nn.Module) and reduction != "mean":
            raise UsageError(
                f"reduction is '{reduction}'", where=name, expected="the mean over samples", fix="reduction='mean'"
            )
        self.name = name
        self._function = function

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the function's value times the number of samples."""
        return self._function(outputs, targets) * self.count(outputs, targets)

    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of samples: the length of the first tensor in the targets, else in the outputs."""
        for value in (targets, outputs):
            length = self.count_targets(value)
            if length is not None:
                return length
        raise DataError("the number of samples cannot be told", where=self.name, expected="targets (B, …)")

    def count_targets(self, targets: Any) -> int | None:
        """Return the length of the first tensor in the targets, None if there is none."""
        tensor = _first_tensor(targets)
        return len(tensor) if tensor is not None and tensor.ndim > 0 else None

    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse a function that fails, stretches targets to another shape, or does not return one number.

        Raises
        ------
        DataError
            If it cannot be called with the outputs and targets.
        UsageError
            If it returns something else than a scalar tensor.
        """
        try:
            with warnings.catch_warnings():
                # torch's losses broadcast targets of another shape, and only warn: every number would be wrong.
                warnings.filterwarnings("error", message="Using a target size")
                value = self._function(outputs, targets)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError, UserWarning) as error:
            if memory_ran_out(error):
                raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"the loss fails with outputs {_shapes(outputs)} and targets {_shapes(targets)}: {first}",
                where=f"{self.name}, {where}",
                fix="--data with targets that fit the loss, or another --loss",
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1 or value.ndim > 0:
            shape = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise UsageError(
                f"the loss returned {shape}",
                where=self.name,
                expected="a scalar tensor, the mean over the micro-batch's samples",
                fix="end it with .mean()",
            )


def _shapes(value: Any) -> str:
    found = [str(tuple(shape)) for shape in shapes(value)]
    return ", ".join(found) or f"of type {type(value).__name__}"


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((item for item in items if isinstance(item, Tensor)), None)
