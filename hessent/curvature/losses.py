"""Losses as sums over items, so that a mean over the whole data never depends on how it is cut.

The problem's loss is L = Σ sum / Σ count over all micro-batches.  An item is a sample, or for language models a
valid token: with ignored positions, averaging each batch by itself and then over batches would give a different
function for every batch size.

    cross-entropy   classes; items are samples; −log softmax(outputs)[label], in nats
    mse             regression; items are samples; each counts the mean of its squared errors over its outputs, so
                    L is the mean over samples and outputs as in torch (?reduction=sum: their sum per sample)
    next-token      language models; items are tokens whose target is not ignore_index (-1 by default)
    a callable      f(outputs, targets) -> scalar, the MEAN over the micro-batch's samples; weighted by samples

A callable that weights its terms by itself (class weights, ignored positions) is not a mean over samples; it then
depends on the micro-batches, and keeping it meaningful is its author's business.  Every built-in loss is computed
in the outputs' dtype and is twice differentiable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hessent.curvature.cross_entropy import summed_cross_entropy
from hessent.curvature.target_checks import (
    check_integers,
    check_labels,
    check_tensors,
    dtype_name,
    shapes_differ,
)
from hessent.data.parameters import Parameter, read_parameters
from hessent.data.user_code import load_attribute
from hessent.errors import DataError, UsageError, suggest


class Loss(ABC):
    """Interface of a loss; it has no state but its parameters.

    Attributes
    ----------
    name : str
        As it stands in results, parameters that differ from the default included.
    """

    name: str

    @abstractmethod
    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss summed over the items of a micro-batch, a scalar in the outputs' dtype."""

    def plain_sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the same for training, whose steps must stay the same however second derivatives are taken."""
        return self.sum(outputs, targets)

    @abstractmethod
    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of items of a micro-batch; zero is possible."""

    def count_targets(self, targets: Any) -> int | None:
        """Return the number of items where the targets alone tell it, else None: the model must be run for it."""
        return None

    @abstractmethod
    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse targets that do not fit the outputs.

        Raises
        ------
        DataError
            With the value found, the range and what to do.
        """


class CrossEntropy(Loss):
    """Cross-entropy of class labels: outputs (B, C) logits, targets (B,) integers 0 … C - 1."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing is {label_smoothing:g}", expected="at least 0 and below 1")
        self.name = f"cross-entropy?label_smoothing={label_smoothing:g}" if label_smoothing else "cross-entropy"
        self._label_smoothing = label_smoothing

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return Σ −log softmax(outputs)[label] in nats."""
        return summed_cross_entropy(outputs, targets, label_smoothing=self._label_smoothing)

    def plain_sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the same by torch's own operation."""
        smoothing = self._label_smoothing
        return functional.cross_entropy(outputs, targets, reduction="sum", label_smoothing=smoothing)

    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of samples."""
        return self.count_targets(targets)

    def count_targets(self, targets: Any) -> int:
        """Return the number of samples."""
        return len(targets)

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
        self._ignore_index = ignore_index

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return Σ −log softmax(outputs)[token] in nats over the positions that are not ignored."""
        flat = outputs.reshape(-1, outputs.shape[-1])
        return summed_cross_entropy(flat, targets.reshape(-1), ignore_index=self._ignore_index)

    def plain_sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the same by torch's own operation."""
        flat, labels = outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1)
        return functional.cross_entropy(flat, labels, reduction="sum", ignore_index=self._ignore_index)

    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of positions that are not ignored."""
        return self.count_targets(targets)

    def count_targets(self, targets: Any) -> int:
        """Return the number of positions that are not ignored."""
        return int((targets != self._ignore_index).sum())

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
        valid = targets != self._ignore_index
        if self._ignore_index != -100 and (targets == -100).any():
            raise DataError(
                f"targets hold -100, but the ignored value of {self.name} is {self._ignore_index}",
                where=where,
                fix="--loss 'next-token?ignore_index=-100'",
            )
        check_labels(targets, valid, outputs.shape[-1], where)


class MeanSquaredError(Loss):
    """Squared error: outputs (B, …) and targets of the same shape; (B,) also serves outputs (B, 1)."""

    def __init__(self, reduction: str = "mean") -> None:
        self.name = "mse" if reduction == "mean" else f"mse?reduction={reduction}"
        self._mean_over_outputs = reduction == "mean"

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return Σ over samples of the mean (or sum) of the squared errors over a sample's outputs."""
        errors = outputs - targets.to(outputs.dtype).reshape(outputs.shape)
        total: Tensor = errors.square().sum()
        return total / errors.shape[1:].numel() if self._mean_over_outputs else total

    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of samples."""
        return self.count_targets(targets)

    def count_targets(self, targets: Any) -> int:
        """Return the number of samples."""
        return len(targets)

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
        """Refuse a function that does not return one number.

        Raises
        ------
        UsageError
            If it returns something else than a scalar tensor.
        """
        value = self._function(outputs, targets)
        if not isinstance(value, Tensor) or value.numel() != 1 or value.ndim > 0:
            shape = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise UsageError(
                f"the loss returned {shape}",
                where=self.name,
                expected="a scalar tensor, the mean over the micro-batch's samples",
                fix="end it with .mean()",
            )


_PARAMETERS: dict[str, dict[str, Parameter]] = {
    "cross-entropy": {"label_smoothing": Parameter("number", "mass spread evenly over all classes", 0.0)},
    "mse": {"reduction": Parameter("choice", "over a sample's outputs", "mean", choices=("mean", "sum"))},
    "next-token": {"ignore_index": Parameter("integer", "target value of positions left out", -1)},
}
_BUILT_IN: dict[str, Callable[..., Loss]] = {
    "cross-entropy": CrossEntropy,
    "mse": MeanSquaredError,
    "next-token": NextToken,
}


def loss_names() -> tuple[str, ...]:
    """Return the names of the built-in losses."""
    return tuple(_BUILT_IN)


def resolve_loss(loss: str | Callable[[Any, Any], Tensor] | Loss) -> Loss:
    """Return the loss that a name or a callable stands for.

    Parameters
    ----------
    loss : str, callable or Loss
        ``cross-entropy``, ``cross-entropy?label_smoothing=0.1``, ``mse``, ``mse?reduction=sum``, ``next-token``,
        ``next-token?ignore_index=-100``, ``package.module:function``, ``path/to/file.py:function``, or a callable
        of (outputs, targets).

    Returns
    -------
    Loss
        Ready to use.

    Raises
    ------
    UsageError
        If the name or a parameter is unknown, or what it names is not callable.
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        return _from_callable(loss, getattr(loss, "__qualname__", type(loss).__qualname__))
    name, _, query = loss.partition("?")
    if name in _BUILT_IN:
        values, problems = read_parameters(query, _PARAMETERS[name])
        if problems:
            raise UsageError("the parameters of the loss are wrong", where=loss, problems=problems)
        return _BUILT_IN[name](**values)
    if ":" in loss:
        return _from_callable(load_attribute(loss, where=loss, error=UsageError), loss)
    near = suggest(name, _BUILT_IN)
    raise UsageError(
        f"unknown loss '{loss}'" + (f"; {near}" if near else ""),
        expected=", ".join(_BUILT_IN) + " or package.module:function",
    )


def _from_callable(function: Any, name: str) -> Loss:
    if isinstance(function, type) and issubclass(function, nn.Module | Loss):
        function = function()  # torch.nn:HuberLoss names a class; its instance is the loss
    if isinstance(function, Loss):
        return function
    if not callable(function):
        raise UsageError(f"a {type(function).__name__} is not a loss", where=name, expected="a callable")
    return CallableLoss(function, name)


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((item for item in items if isinstance(item, Tensor)), None)
