"""Cross-entropy of classes and of next tokens, in nats."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hessent.curvature.cross_entropy import summed_cross_entropy
from hessent.curvature.losses.loss import Loss, SampleLoss
from hessent.curvature.matrices.output_forms import OutputForms
from hessent.curvature.matrices.softmax_forms import SoftmaxForms
from hessent.curvature.target_checks import check_integers, check_labels, check_tensors, shapes_differ
from hessent.errors import DataError, UsageError


class CrossEntropy(SampleLoss):
    """Cross-entropy of class labels: outputs (B, C) logits, targets (B,) integers 0 … C - 1."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing is {label_smoothing:g}", expected="at least 0 and below 1")
        self.name = f"cross-entropy?label_smoothing={label_smoothing:g}" if label_smoothing else "cross-entropy"
        self.label_smoothing = label_smoothing

    @cached_property
    def forms(self) -> OutputForms:
        """Those of a softmax."""
        return SoftmaxForms(label_smoothing=self.label_smoothing)

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return Σ −log softmax(outputs)[label] in nats."""
        return summed_cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def plain_sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the same by torch's own operation."""
        smoothing = self.label_smoothing
        return functional.cross_entropy(outputs, targets, reduction="sum", label_smoothing=smoothing)

    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse anything but one integer label in 0 … C - 1 per row of logits.

        Raises
        ------
        DataError
            If shapes, dtype or range do not fit.
        """
        check_tensors(outputs, targets, self.name, where)
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
            raise shapes_differ(self.name, outputs, targets, "outputs (B, classes) and targets (B,)", where)
        check_integers(targets, self.name, where)
        check_labels(targets, torch.ones_like(targets, dtype=torch.bool), outputs.shape[-1], where)


class NextToken(Loss):
    """Cross-entropy of the next token: outputs (B, T, V) logits, targets (B, T) integers or `ignore_index`."""

    def __init__(self, ignore_index: int = -1) -> None:
        self.name = "next-token" if ignore_index == -1 else f"next-token?ignore_index={ignore_index}"
        self.ignore_index = ignore_index

    @cached_property
    def forms(self) -> OutputForms:
        """Those of a softmax for every token."""
        return SoftmaxForms(ignore_index=self.ignore_index)

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return Σ −log softmax(outputs)[token] in nats over the positions that are not ignored."""
        flat = outputs.reshape(-1, outputs.shape[-1])
        return summed_cross_entropy(flat, targets.reshape(-1), ignore_index=self.ignore_index)

    def plain_sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the same by torch's own operation."""
        flat, labels = outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1)
        return functional.cross_entropy(flat, labels, reduction="sum", ignore_index=self.ignore_index)

    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of positions that are not ignored."""
        return self.count_targets(targets)

    def count_targets(self, targets: Any) -> int:
        """Return the number of positions that are not ignored."""
        return int((targets != self.ignore_index).sum())

    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse anything but one token in 0 … V - 1 or `ignore_index` per position.

        Raises
        ------
        DataError
            If shapes, dtype or range do not fit.
        """
        check_tensors(outputs, targets, self.name, where)
        if outputs.ndim != 3 or targets.shape != outputs.shape[:2]:
            raise shapes_differ(self.name, outputs, targets, "outputs (B, T, vocabulary) and targets (B, T)", where)
        check_integers(targets, self.name, where)
        valid = targets != self.ignore_index
        if self.ignore_index != -100 and (targets == -100).any():
            raise DataError(
                f"targets hold -100, but the ignored value of {self.name} is {self.ignore_index}",
                where=where,
                fix="--loss 'next-token?ignore_index=-100'",
            )
        check_labels(targets, valid, outputs.shape[-1], where)
