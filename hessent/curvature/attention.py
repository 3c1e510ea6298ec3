"""Attention of which a gradient graph keeps nothing of T x T per head, and its place in any model.

Of torch's composed operations a gradient graph keeps three tensors of the size of the probabilities per layer, and
a second backward pass makes nine more; for long sequences nothing else counts.  Here it keeps q, k, v and the
gradient that comes from above, and every pass tells the probabilities again (`attention_pieces`).

Inside torch.func's transforms and in forward mode torch's own attention serves; vectors batched in one backward
pass are looped over; third derivatives are composed of torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from hessent.curvature import attention_pieces as pieces
from hessent.curvature.attention_pieces import Setting
from hessent.curvature.substitutes import is_batch, is_plain, is_transformed

# Entries of P, all heads together (2 MiB in float32), up to which torch's own attention serves: where it is faster.
# Tuned on one core of an AMD EPYC (Zen 4) in float32.  A second backward pass took, of torch's, with heads of 64:
# 1.2 at T = 64 with 0.4 M entries, 1.0 to 1.1 at 64 to 1,024 from 1.5 M on, causal 0.8 at 256 and 0.6 at 1,024;
# with heads of 16: 0.7 at 65, causal 1.0 at 128 with 0.5 M and 0.7 at 256.
_SMALL = 2**19

_torchs: Callable[..., Tensor] = functional.scaled_dot_product_attention
_broadcast: Callable[..., tuple[int, ...]] = torch.broadcast_shapes


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(scale q kᵀ + mask) v, any times differentiable; arguments as torch's function has them.

    Parameters
    ----------
    query, key, value : Tensor
        Shapes (…, T, E), (…, S, E), (…, S, F); leading dimensions are broadcast.
    attn_mask : Tensor, optional
        Boolean (True takes part) or additive, broadcast to (…, T, S).
    dropout_p : float
        Probability of dropping an entry of P.
    is_causal : bool
        Whether row i sees keys 0 … i only.
    scale : float, optional
        1 / √E if not given.
    enable_gqa : bool
        Whether several query heads share a key head.

    Returns
    -------
    Tensor
        Shape (…, T, F); zero in rows that see no key.

    Raises
    ------
    RuntimeError
        From torch, if the arguments do not fit each other.
    """
    others = _is_small(query, key) or dropout_p or enable_gqa or (is_causal and attn_mask is not None)
    leading = None if others else _leading(query, key, value, attn_mask)
    if leading is None:
        return _torchs(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    padded = (1,) * (2 - len(leading)) + leading  # samples, heads
    operands = (
        part.expand(leading + part.shape[-2:]).view(padded + part.shape[-2:]) for part in (query, key, value)
    )
    mask = None if attn_mask is None else attn_mask.expand(*padded, query.shape[-2], key.shape[-2])
    outputs = _attended(*operands, mask, is_causal, query.shape[-1] ** -0.5 if scale is None else scale)
    return outputs.view(leading + outputs.shape[-2:])


def _is_small(query: Tensor, key: Tensor) -> bool:
    """Tell whether P is so small that torch's own attention serves, or is none."""
    if query.dim() < 2 or key.dim() < 2:
        return True
    return max(query.numel() * key.shape[-2], key.numel() * query.shape[-2]) <= _SMALL * query.shape[-1]


def _leading(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[int, ...] | None:
    """Broadcast the leading dimensions of all operands; None where torch's own attention serves."""
    operands = (query, key, value) if mask is None else (query, key, value, mask)
    if is_transformed() or not all(_fits(part, query) for part in operands):
        return None
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        return None
    try:
        leading = tuple(_broadcast(query.shape[:-2], key.shape[:-2], value.shape[:-2]))
        scores = (*leading, query.shape[-2], key.shape[-2])
        fits = mask is None or (not mask.requires_grad and tuple(_broadcast(mask.shape, scores)) == scores)
    except RuntimeError:  # torch's own says best what is wrong
        return None
    return leading if fits and len(leading) <= 2 else None


def _fits(operand: Tensor, query: Tensor) -> bool:
    """Tell whether an operand is an ordinary tensor of the query's kind, or an ordinary mask."""
    return is_plain(operand, query) and (
        (operand.dtype == query.dtype and operand.dim() >= 2) or operand.dtype == torch.bool
    )


class _Attended(Function):
    """q, k, v (samples, heads, T or S, E or F) to O."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, mask)
        ctx.setting = causal, scale
        return pieces.attended((q, k, v), Setting(mask, causal, scale))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask = ctx.saved_tensors
        gradients = _looped("gradients") if is_batch(g) else _gradients
        return *gradients(q, k, v, g, mask, *ctx.setting), None, None, None


class _Gradients(Function):
    """q, k, v, g to dQ, dK, dV."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, g: Tensor, mask: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(q, k, v, g, mask)
        ctx.setting = causal, scale
        return pieces.gradients((q, k, v, g), Setting(mask, causal, scale))

    @staticmethod
    def backward(ctx: Any, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, g, mask = ctx.saved_tensors
        operands, setting = (q, k, v, g, a, b, c), Setting(mask, *ctx.setting)
        if is_batch(a, b, c):
            found = _looped("products")(*operands, *setting)
        elif torch.is_grad_enabled():  # a third derivative is wanted
            found = _composed_products(operands, setting)
        else:
            found = pieces.products(operands, setting)
        return *found, None, None, None


def _composed_products(operands: Sequence[Tensor], setting: Setting) -> tuple[Tensor, ...]:
    """Return the products of `attention_pieces` attached to a graph, from two derivatives of torch's attention."""
    # Views, because g depends on q, k and v by ways that these derivatives must not follow.
    views = [part.view_as(part) if part.requires_grad else part.detach().requires_grad_() for part in operands[:4]]
    q, k, v, g = views
    with sdpa_kernel(SDPBackend.MATH):
        outputs = _torchs(q, k, v, setting.mask, is_causal=setting.causal, scale=setting.scale)
        first = torch.autograd.grad(outputs, (q, k, v), g, create_graph=True)
        return torch.autograd.grad(first, views, operands[4:], create_graph=True)


_attended: Callable[..., Tensor] = _Attended.apply
_gradients: Callable[..., tuple[Tensor, ...]] = _Gradients.apply

# torch loops over a batch for operations that it knows without a rule for batches.  Each vector is work enough, and
# all at once would be memory too much.
_library: Any = torch.library.Library("hessent", "FRAGMENT")  # type: ignore[no-untyped-call]


def _register(name: str, operands: str, results: str, function: Callable[[Sequence[Tensor], Setting], Any]) -> None:
    tensors = "".join(f"Tensor {operand}, " for operand in operands.split())
    _library.define(f"{name}({tensors}Tensor? mask, bool causal, float scale) -> ({results})")

    def call(*arguments: Any) -> Any:
        return function(arguments[:-3], Setting(*arguments[-3:]))

    _library.impl(name, call, "CompositeExplicitAutograd")


_register("attention_gradients", "q k v g", "Tensor, Tensor, Tensor", pieces.gradients)
_register("attention_products", "q k v g a b c", "Tensor, Tensor, Tensor, Tensor", pieces.products)


def _looped(name: str) -> Callable[..., tuple[Tensor, ...]]:
    """Return `gradients` or `products` for batched vectors.

    Raises
    ------
    NotImplementedError
        If a graph is wanted of them.
    """
    if torch.is_grad_enabled():
        raise NotImplementedError("a batched backward pass through attention keeps no graph")
    operation: Callable[..., tuple[Tensor, ...]] = getattr(torch.ops.hessent, f"attention_{name}")
    return operation
