"""Squared errors: of targets like the outputs, and of class labels as the corners of the simplex."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.losses.loss import SampleLoss
from hessent.curvature.matrices.gaussian_forms import GaussianForms
from hessent.curvature.matrices.output_forms import OutputForms
from hessent.curvature.target_checks import check_integers, check_labels, check_tensors, dtype_name, shapes_differ
from hessent.errors import DataError


class MeanSquaredError(SampleLoss):
    """Squared error: outputs (B, …) and targets of the same shape; (B,) also serves outputs (B, 1)."""

    def __init__(self, reduction: str = "mean") -> None:
        self.name = "mse" if reduction == "mean" else f"mse?reduction={reduction}"
        self.mean_over_outputs = reduction == "mean"

    @cached_property
    def forms(self) -> OutputForms:
        """Those of a normal distribution around the outputs."""
        return GaussianForms(self._weight, _as_outputs)

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return Σ over samples of the mean (or sum) of the squared errors over a sample's outputs."""
        total: Tensor = (outputs - _as_outputs(outputs, targets)).square().sum()
        return total * self._weight(outputs)

    def _weight(self, outputs: Tensor) -> float:
        """What one squared error counts."""
        return 1.0 / outputs.shape[1:].numel() if self.mean_over_outputs else 1.0

    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse targets of another shape (never broadcast) and class labels.

        Raises
        ------
        DataError
            If shapes or dtype do not fit.
        """
        check_tensors(outputs, targets, self.name, where)
        if not targets.is_floating_point():
            raise DataError(
                f"{self.name} needs targets that are floating-point numbers, found {dtype_name(targets)}",
                where=where,
                fix="--loss cross-entropy for class labels, or store the targets as float32",
            )
        if targets.shape != outputs.shape and outputs.shape != (*targets.shape, 1):
            raise shapes_differ(self.name, outputs, targets, "outputs and targets of the same shape", where)


class HalfSquaredError(SampleLoss):
    """½ Σ over a sample's outputs of its squared errors, as in the studies of gradient descent's edge of stability.

    Targets are numbers in the shape of the outputs, or class labels (B,) of outputs (B, C), which stand for their
    one-hot rows.

    References
    ----------
    Cohen, Kaur, Li, Kolter & Talwalkar (2021), Gradient descent on neural networks typically occurs at the edge of
    stability.
    """

    name = "half-squared-error"

    @cached_property
    def forms(self) -> OutputForms:
        """Those of a normal distribution of variance 1 around the outputs."""
        return GaussianForms(lambda outputs: 0.5, _as_rows)

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return ½ Σ of all squared errors."""
        total: Tensor = (outputs - _as_rows(outputs, targets)).square().sum()
        return 0.5 * total

    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse targets of another shape (never broadcast), and labels beyond the outputs.

        Raises
        ------
        DataError
            If shapes, dtype or range do not fit.
        """
        check_tensors(outputs, targets, self.name, where)
        if targets.is_floating_point():
            if targets.shape != outputs.shape and outputs.shape != (*targets.shape, 1):
                raise shapes_differ(self.name, outputs, targets, "outputs and targets of the same shape", where)
            return
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
            raise shapes_differ(self.name, outputs, targets, "outputs (B, classes) and targets (B,)", where)
        check_integers(targets, self.name, where)
        check_labels(targets, torch.ones_like(targets, dtype=torch.bool), outputs.shape[-1], where)


def _as_rows(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in the shape of the outputs; class labels as one-hot rows."""
    if targets.is_floating_point():
        return _as_outputs(outputs, targets)
    # A comparison, not `one_hot`: that looks at the labels, which not every engine's tensors allow.
    classes = torch.arange(outputs.shape[-1], device=targets.device)
    return (targets[..., None] == classes).to(outputs.dtype)


def _as_outputs(outputs: Tensor, targets: Tensor) -> Tensor:
    return targets.to(outputs.dtype).reshape(outputs.shape)
