"""Losses by name.

    cross-entropy   classes; items are samples; −log softmax(outputs)[label], in nats
    mse             regression; items are samples; each counts the mean of its squared errors over its outputs, so
                    L is the mean over samples and outputs as in torch (?reduction=sum: their sum per sample)
    half-squared-error
                    items are samples; each counts ½ Σ of its squared errors; class labels stand for one-hot rows
    next-token      language models; items are tokens whose target is not ignore_index (-1 by default)
    a callable      f(outputs, targets) -> scalar, the MEAN over the micro-batch's samples; weighted by samples

A callable that weights its terms by itself (class weights, ignored positions) is not a mean over samples; it then
depends on the micro-batches, and keeping it meaningful is its author's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from hessent.curvature.losses.callable_loss import CallableLoss
from hessent.curvature.losses.loss import Loss
from hessent.curvature.losses.softmax_losses import CrossEntropy, NextToken
from hessent.curvature.losses.squared_errors import HalfSquaredError, MeanSquaredError
from hessent.data.parameters import Parameter, read_parameters
from hessent.data.user_code import load_attribute
from hessent.errors import UsageError, suggest

_PARAMETERS: dict[str, dict[str, Parameter]] = {
    "cross-entropy": {"label_smoothing": Parameter("number", "mass spread evenly over all classes", 0.0)},
    "mse": {"reduction": Parameter("choice", "over a sample's outputs", "mean", choices=("mean", "sum"))},
    "half-squared-error": {},
    "next-token": {"ignore_index": Parameter("integer", "target value of positions left out", -1)},
}
_BUILT_IN: dict[str, Callable[..., Loss]] = {
    "cross-entropy": CrossEntropy,
    "mse": MeanSquaredError,
    "half-squared-error": HalfSquaredError,
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
        ``cross-entropy``, ``cross-entropy?label_smoothing=0.1``, ``mse``, ``mse?reduction=sum``,
        ``half-squared-error``, ``next-token``, ``next-token?ignore_index=-100``, ``package.module:function``,
        ``path/to/file.py:function``, or a callable of (outputs, targets).

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
