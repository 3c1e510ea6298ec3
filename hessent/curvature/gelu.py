"""GELU whose second backward passes are three multiplications.

With x the argument and g the gradient of the value, a gradient graph of torch's keeps x and g, and every second
backward pass goes through them again: c gelu'(x) and c g gelu''(x) for a cotangent c of the gradient, then
c' gelu'(x) on the way back.  Here the first backward pass makes gelu'(x) and g gelu''(x) of x and g, which it lets
go: as many buffers, and all that other passes need.

The price is that x and g are gone: neither a third derivative nor a second graph over the same value is possible.
Where a model takes derivatives of its own (`derivatives_inside`), and in batched first passes, torch's derivative
serves, of which there is every order.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from hessent.curvature.substitutes import is_batch, is_plain, is_transformed
from hessent.errors import ComputationError

_DENSITY = 1 / math.sqrt(2 * math.pi)
_SLOPE = math.sqrt(2 / math.pi)  # of the argument of tanh at 0
_CUBIC = 0.044715  # torch's

_torchs: Callable[..., Tensor] = functional.gelu
_backward: Callable[..., Tensor] = torch.ops.aten.gelu_backward


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:  # noqa: A002 - torch's name
    """Return GELU, twice differentiable; arguments as torch's function has them.

    Parameters
    ----------
    input : Tensor
        Of any shape.
    approximate : str
        `none` (x Φ(x)) or `tanh`.

    Returns
    -------
    Tensor
        As the input.

    Raises
    ------
    RuntimeError
        From torch, if `approximate` is anything else.
    """
    ours = torch.is_grad_enabled() and not is_transformed() and is_plain(input, input) and input.requires_grad
    if ours and approximate in _SECOND:
        return _curve(input, approximate)
    return _torchs(input, approximate=approximate)


class _Inside:
    """How many forward passes run: on a GPU, backward passes within them run in other threads."""

    lock = threading.Lock()
    count = 0


@contextlib.contextmanager
def derivatives_inside() -> Iterator[None]:
    """Surround a model's forward pass: gradients taken meanwhile are part of it, to be derived twice more."""
    with _Inside.lock:
        _Inside.count += 1
    try:
        yield
    finally:
        with _Inside.lock:
            _Inside.count -= 1


class _Curve(Function):
    """x to the value."""

    clear_saved_tensors_on_access = True  # reading x lets it go (older torch keeps it)

    @staticmethod
    def forward(ctx: Any, x: Tensor, approximate: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.approximate = approximate
        ctx.argument = ctx.version = ctx.slope = None
        return _torchs(x, approximate=approximate)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.slope is None:
            x = _argument(ctx)
            if torch.is_grad_enabled() and (_Inside.count or is_batch(g)):
                ctx.argument, ctx.version = x, x._version
                return _backward(g, x, approximate=ctx.approximate), None
            with torch.no_grad():
                ctx.slope = _backward(torch.ones_like(x), x, approximate=ctx.approximate)
                ctx.argument = None
            if torch.is_grad_enabled():
                return _gradient(g, x, ctx.slope, ctx.approximate), None
        elif torch.is_grad_enabled():
            raise _refusal()
        return g * ctx.slope, None


def _argument(ctx: Any) -> Tensor:
    """Return x, as it was in the forward pass."""
    if ctx.argument is None:
        (x,) = ctx.saved_tensors
        return x  # type: ignore[no-any-return]
    if ctx.argument._version != ctx.version:
        raise RuntimeError("the argument of GELU has been modified by an inplace operation")
    return ctx.argument  # type: ignore[no-any-return]


class _Gradient(Function):
    """g and x to the gradient by x, which is g gelu'(x)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, slope: Tensor, approximate: str) -> Tensor:
        ctx.save_for_backward(slope, _SECOND[approximate](x).mul_(g))
        return g * slope

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise _refusal()
        slope, bend = ctx.saved_tensors
        by_g, by_x, *_ = ctx.needs_input_grad
        return c * slope if by_g else None, c * bend if by_x else None, None, None


def _refusal() -> ComputationError:
    return ComputationError(
        "GELU is differentiated more than twice, or two gradient graphs are built over one value of it",
        expected="one gradient graph per forward pass, and second derivatives of it",
        fix="in the model, call GELU by a name of its own: from torch.nn.functional import gelu",
    )


def _exact_second(x: Tensor) -> Tensor:
    """Return φ(x) (2 - x²)."""
    square = x * x
    density = torch.exp(square * -0.5)
    return square.sub_(2).mul_(density).mul_(-_DENSITY)


def _tanh_second(x: Tensor) -> Tensor:
    """Return (1 - t²) (v' + x v'' / 2 - x t v'²) with v = slope (x + cubic x³) and t = tanh v."""
    square = x * x
    t = (square * (_SLOPE * _CUBIC)).add_(_SLOPE).mul_(x).tanh_()
    steep = (square * (3 * _SLOPE * _CUBIC)).add_(_SLOPE)  # v'
    bend = square.mul_(6 * _SLOPE * _CUBIC).add_(_SLOPE)  # v' + x v'' / 2
    bend.sub_(steep.square_().mul_(x).mul_(t))
    return bend.mul_(t.square_().neg_().add_(1))


_SECOND: dict[str, Callable[[Tensor], Tensor]] = {"none": _exact_second, "tanh": _tanh_second}
_curve: Callable[..., Tensor] = _Curve.apply
_gradient: Callable[..., Tensor] = _Gradient.apply
