"""Attention and its first two derivatives, worked out piece by piece so that no tensor of T x T per head exists.

    S = s q kᵀ + mask        P = softmax(S), row by row        O = P v

With g = ∂L/∂O the gradient is

    A = g vᵀ - rowsum(P ∘ g vᵀ)        dS = P ∘ A        dQ = s dS k        dK = s dSᵀ q        dV = Pᵀ g

For vectors (a, b, c) that meet (dQ, dK, dV) a second backward pass differentiates ⟨a, dQ⟩ + ⟨b, dK⟩ + ⟨c, dV⟩,
which is ⟨g, O'⟩ with O' the derivative of O along (a, b, c):

    U  = s (a kᵀ + q bᵀ)             S along it
    P' = P ∘ (U - rowsum(P ∘ U))     P along it
    dE = A ∘ P' + P ∘ g cᵀ           dS' = dE - P ∘ rowsum(dE), the derivative by S

    by q: s (dS' k + dS b)     by k: s (dS'ᵀ q + dSᵀ a)     by v: P'ᵀ g     by g: P' v + P c

A piece is some heads, some of their rows, and the keys that these see: whole rows, so that every row sum is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Entries of P worked on at once: on a processor they and four temporaries stay in its caches (2**17 to 2**20 are
# alike); elsewhere every piece costs launches.
_ROOM = {"cpu": 2**19}
_ROOM_ELSEWHERE = 2**25
_CAUSAL_ROWS = 128  # rows of a causal piece: fewer waste less on keys they do not see, more multiply faster


class Setting(NamedTuple):
    """What scores are made of beside queries and keys.

    Attributes
    ----------
    mask : Tensor or None
        Boolean (True takes part) or additive, shape (samples, heads, T, S), mostly expanded from less.
    causal : bool
        Whether row i sees keys 0 … i only.
    scale : float
        s.
    """

    mask: Tensor | None
    causal: bool
    scale: float


class Piece(NamedTuple):
    """A part of P: ranges of samples, heads and rows, and of the keys that these see."""

    samples: slice
    heads: slice
    rows: slice
    keys: slice

    def rows_of(self, whole: Tensor) -> Tensor:
        """Take what lies at its rows, (heads of all its samples, rows, E)."""
        return whole[self.samples, self.heads, self.rows].flatten(0, 1)

    def keys_of(self, whole: Tensor) -> Tensor:
        """Take what lies at its keys, (heads of all its samples, keys, E)."""
        return whole[self.samples, self.heads, self.keys].flatten(0, 1)

    def put(self, whole: Tensor, part: Tensor) -> None:
        """Set what lies at its rows."""
        place = whole[self.samples, self.heads, self.rows]
        place.copy_(part.view(place.shape))

    def add(self, whole: Tensor, part: Tensor) -> None:
        """Add to what lies at its keys."""
        place = whole[self.samples, self.heads, self.keys]
        place.add_(part.view(place.shape))


def whole_piece(q: Tensor, k: Tensor) -> Piece:
    """Return the piece that is all of P."""
    return Piece(*(slice(0, end) for end in (*q.shape[:3], k.shape[2])))


def _pieces(q: Tensor, k: Tensor, causal: bool) -> Iterator[Piece]:
    """Cut P into pieces that fit the room, or of one row."""
    samples, heads, length, _ = q.shape
    num_keys = k.shape[2]
    room = _ROOM.get(q.device.type, _ROOM_ELSEWHERE)
    rows = max(1, min(length, room // num_keys, _CAUSAL_ROWS if causal else length))
    several = max(1, min(heads, room // (rows * num_keys)))
    together = max(1, min(samples, room // (rows * num_keys * heads)))
    for sample in range(0, samples, together):
        for head in range(0, heads, several):
            for row in range(0, length, rows):
                end = min(row + rows, length)
                seen = min(end, num_keys) if causal else num_keys
                yield Piece(
                    slice(sample, sample + together), slice(head, head + several), slice(row, end), slice(0, seen)
                )


def _probabilities(query: Tensor, keys: Tensor, piece: Piece, setting: Setting) -> Tensor:
    """P of a piece, from its scaled queries and its keys; zero in rows that see no key."""
    scores = torch.bmm(query, keys.mT)
    if setting.causal:
        diagonal = scores[..., piece.rows.start :]  # all rows see the keys before
        later = torch.ones(diagonal.shape[1:], dtype=torch.bool, device=scores.device).triu(1)
        diagonal.masked_fill_(later, -math.inf)
    if setting.mask is None:
        return scores.softmax(-1)
    mask = setting.mask[piece.samples, piece.heads, piece.rows, piece.keys]
    by_head = scores.view(mask.shape)
    if mask.dtype == torch.bool:
        by_head.masked_fill_(mask.logical_not(), -math.inf)
    else:
        by_head.add_(mask)
    blind = scores.amax(-1, keepdim=True) == -math.inf
    return scores.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)


def _centred(P: Tensor, X: Tensor) -> Tensor:
    """X - rowsum(P ∘ X)."""
    return X - (P * X).sum(-1, keepdim=True)


def attended(operands: Sequence[Tensor], setting: Setting) -> Tensor:
    """Return O (samples, heads, T, F) of q (…, T, E), k (…, S, E) and v (…, S, F)."""
    q, k, v = operands
    outputs = q.new_empty(*q.shape[:3], v.shape[3])
    for piece in _pieces(q, k, setting.causal):
        P = _probabilities(piece.rows_of(q) * setting.scale, piece.keys_of(k), piece, setting)
        piece.put(outputs, torch.bmm(P, piece.keys_of(v)))
    return outputs


def gradients(operands: Sequence[Tensor], setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Return dQ, dK, dV of q, k, v, g."""
    q, k, v, g = operands
    dQ, dK, dV = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    for piece in _pieces(q, k, setting.causal):
        query, keys, gradient = piece.rows_of(q) * setting.scale, piece.keys_of(k), piece.rows_of(g)
        P = _probabilities(query, keys, piece, setting)
        dS = P * _centred(P, torch.bmm(gradient, piece.keys_of(v).mT))
        piece.put(dQ, torch.bmm(dS, keys) * setting.scale)
        piece.add(dK, torch.bmm(dS.mT, query))
        piece.add(dV, torch.bmm(P.mT, gradient))
    return dQ, dK, dV


def products(operands: Sequence[Tensor], setting: Setting) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the derivatives of ⟨a, dQ⟩ + ⟨b, dK⟩ + ⟨c, dV⟩ by q, k, v, g; operands q, k, v, g, a, b, c."""
    q, k, v, g = operands[:4]
    by_q, by_k, by_v, by_g = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape), g.new_empty(g.shape)
    for piece in _pieces(q, k, setting.causal):
        parts = piece_products(piece, operands, setting)
        piece.put(by_q, parts[0])
        piece.add(by_k, parts[1])
        piece.add(by_v, parts[2])
        piece.put(by_g, parts[3])
    return by_q, by_k, by_v, by_g


def piece_products(
    piece: Piece, operands: Sequence[Tensor], setting: Setting
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what a piece adds to `products`, in torch's operations: with a graph, third derivatives follow."""
    q, k, v, g, a, b, c = operands
    query, along_q, gradient = piece.rows_of(q) * setting.scale, piece.rows_of(a) * setting.scale, piece.rows_of(g)
    keys, values, along_k, along_v = (piece.keys_of(whole) for whole in (k, v, b, c))
    P = _probabilities(query, keys, piece, setting)
    U = torch.baddbmm(torch.bmm(along_q, keys.mT), query, along_k.mT)
    along_P = P * _centred(P, U)
    del U
    A = _centred(P, torch.bmm(gradient, values.mT))
    dE = torch.addcmul(A * along_P, P, torch.bmm(gradient, along_v.mT))
    dS = P * A
    del A
    along_dS = torch.addcmul(dE, P, dE.sum(-1, keepdim=True), value=-1)
    del dE
    by_q = torch.baddbmm(torch.bmm(along_dS, keys), dS, along_k) * setting.scale
    by_k = torch.baddbmm(torch.bmm(along_dS.mT, query), dS.mT, along_q)
    by_v = torch.bmm(along_P.mT, gradient)
    by_g = torch.baddbmm(torch.bmm(along_P, values), P, along_v)
    return by_q, by_k, by_v, by_g
