"""Attention with tangents worked out by hand, for gradients that are differentiated forwards.

The formulas are those of `attention_pieces`, on whole matrices: a linear map keeps the probabilities anyway.
Beside twelve matrix products, six of which add to others, there are five operations of the probabilities' size.

Along q', k', v', g', with A = g vᵀ - rowsum(P ∘ g vᵀ) and dS = P ∘ A:

    P' = P ∘ (U - rowsum(P ∘ U))  with  U = s (q' kᵀ + q k'ᵀ)        O' = P' v + P v'
    dE = A ∘ P' + P ∘ (g' vᵀ + g v'ᵀ)                                dS' = dE - P ∘ rowsum(dE)
    dQ' = s (dS' k + dS k')        dK' = s (dS'ᵀ q + dSᵀ q')         dV' = P'ᵀ g + Pᵀ g'
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def serves(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    """Tell whether `attention` knows what torch's function is called with: no mask, and operands of one kind."""
    leading = query.shape[:-2]
    return (
        attn_mask is None
        and not dropout_p
        and not enable_gqa
        and len(leading) > 0
        and leading == key.shape[:-2] == value.shape[:-2]
        and query.shape[-1] == key.shape[-1]
        and key.shape[-2] == value.shape[-2]
        and query.dtype == key.dtype == value.dtype
        and query.dtype in (torch.float32, torch.float64)
    )


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(scale q kᵀ) v, for arguments that `serves` accepts.

    Parameters
    ----------
    query, key, value : Tensor
        Shapes (…, T, E), (…, S, E), (…, S, F), of the same leading dimensions.
    attn_mask, dropout_p, enable_gqa
        None, 0 and False.
    is_causal : bool
        Whether row i sees keys 0 … i only.
    scale : float, optional
        1 / √E if not given.

    Returns
    -------
    Tensor
        Shape (…, T, F).
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    flat = (part.reshape(-1, *part.shape[-2:]) for part in (query, key, value))
    outputs, _ = _attended(*flat, is_causal, scale)
    return outputs.reshape(*query.shape[:-1], value.shape[-1])


class _Attended(Function):
    """q, k, v, (heads, T or S, E or F) to O and P."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        scores = torch.bmm(q, k.mT).mul_(scale)
        if causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
            scores = scores.masked_fill_(seen.logical_not(), -math.inf)
        P = torch.softmax(scores, -1)
        return torch.bmm(P, v), P

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        q, k, v, _, ctx.scale = inputs
        ctx.save_for_backward(q, k, v, output[1])
        ctx.save_for_forward(q, k, v, output[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor, by_P: None) -> tuple[Tensor | None, ...]:
        return *_gradients(g, *ctx.saved_tensors, ctx.scale), None, None

    @staticmethod
    def jvp(ctx: Any, along_q: Tensor, along_k: Tensor, along_v: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        q, k, v, P = ctx.saved_tensors
        U = torch.baddbmm(torch.bmm(along_q, k.mT), q, along_k.mT, beta=ctx.scale, alpha=ctx.scale)
        along_P = torch._softmax_backward_data(U, P, -1, P.dtype)  # a softmax's Jacobian is its own transpose
        return torch.baddbmm(torch.bmm(along_P, v), P, along_v), along_P


class _Gradients(Function):
    """g, q, k, v, P to dQ, dK, dV."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        g: Tensor, q: Tensor, k: Tensor, v: Tensor, P: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dS = torch._softmax_backward_data(torch.bmm(g, v.mT), P, -1, P.dtype)
        return torch.bmm(dS, k).mul_(scale), torch.bmm(dS.mT, q).mul_(scale), torch.bmm(P.mT, g)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *operands, ctx.scale = inputs
        ctx.save_for_forward(*operands)

    @staticmethod
    def jvp(
        ctx: Any, along_g: Tensor, along_q: Tensor, along_k: Tensor, along_v: Tensor, along_P: Tensor, _: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        g, q, k, v, P = ctx.saved_tensors
        A = torch.bmm(g, v.mT)
        A = A - (P * A).sum(-1, keepdim=True)
        dS, both = P * A, {"beta": ctx.scale, "alpha": ctx.scale}
        along_dS = P * torch.baddbmm(torch.bmm(along_g, v.mT), g, along_v.mT)
        along_dS = torch.addcmul(along_dS, A, along_P)  # dE so far
        along_dS = torch.addcmul(along_dS, P, along_dS.sum(-1, keepdim=True), value=-1)
        return (
            torch.baddbmm(torch.bmm(along_dS, k), dS, along_k, **both),
            torch.baddbmm(torch.bmm(along_dS.mT, q), dS.mT, along_q, **both),
            torch.baddbmm(torch.bmm(along_P.mT, g), P.mT, along_g),
        )


_attended: Callable[..., tuple[Tensor, Tensor]] = _Attended.apply
_gradients: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Gradients.apply
