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
What has its size is written to the same few buffers for all pieces: fresh memory costs more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Entries of P worked on at once, and rows of a causal piece: fewer waste less on keys that they do not see, more
# multiply faster.  On a processor five buffers stay in its caches (2**17 to 2**19 entries and 32 to 128 rows are
# within 15 % of each other); elsewhere every piece costs launches.
_LIMITS = {"cpu": (2**18, 64)}
_LIMITS_ELSEWHERE = (2**24, 256)


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


class _Piece(NamedTuple):
    """A part of P: ranges of samples, heads and rows, and of the keys that these see."""

    samples: slice
    heads: slice
    rows: slice
    keys: slice

    def rows_of(self, whole: Tensor) -> Tensor:
        """Take what lies at its rows from (samples, heads, T, E), as (heads of all its samples, rows, E)."""
        return whole[self.samples, self.heads, self.rows].flatten(0, 1)

    def keys_of(self, whole: Tensor) -> Tensor:
        """Take what lies at its keys, likewise."""
        return whole[self.samples, self.heads, self.keys].flatten(0, 1)

    def together(self, num_heads: int) -> slice:
        """Return its range of samples and heads where these are one dimension."""
        first = self.samples.start * num_heads + self.heads.start
        return slice(first, first + (self.samples.stop - self.samples.start) * (self.heads.stop - self.heads.start))


class _Work:
    """The pieces of P and the buffers that they share.

    Parameters
    ----------
    q, k : Tensor
        (samples, heads, T or S, E).
    setting : Setting
    num_buffers : int
        How many tensors of a piece's size are wanted at once.
    """

    def __init__(self, q: Tensor, k: Tensor, setting: Setting, num_buffers: int) -> None:
        self._q, self._k, self._setting = q, k, setting
        samples, heads, length, _ = q.shape
        self._num_keys = k.shape[2]
        room, causal_rows = _LIMITS.get(q.device.type, _LIMITS_ELSEWHERE)
        self._rows = max(1, min(length, room // self._num_keys, causal_rows if setting.causal else length))
        self._heads = max(1, min(heads, room // (self._rows * self._num_keys)))
        self._samples = max(1, min(samples, room // (self._rows * self._num_keys * heads)))
        entries = self._rows * self._heads * self._samples * self._num_keys
        self._buffers = [q.new_empty(entries) for _ in range(num_buffers)]

    def pieces(self) -> Iterator[_Piece]:
        """Cut P into pieces that fit the room, or of one row."""
        samples, heads, length, _ = self._q.shape
        for sample in range(0, samples, self._samples):
            for head in range(0, heads, self._heads):
                for row in range(0, length, self._rows):
                    end = min(row + self._rows, length)
                    yield _Piece(
                        slice(sample, min(sample + self._samples, samples)),
                        slice(head, min(head + self._heads, heads)),
                        slice(row, end),
                        slice(0, min(end, self._num_keys) if self._setting.causal else self._num_keys),
                    )

    def product(self, buffer: int, rows: Tensor, keys: Tensor) -> Tensor:
        """Return rows keysᵀ (heads, rows, keys), in a buffer."""
        shape = (*rows.shape[:2], keys.shape[1])
        return torch.bmm(rows, keys.mT, out=self.buffer(buffer, shape))

    def buffer(self, index: int, shape: Sequence[int]) -> Tensor:
        """Return a buffer in the shape of a piece."""
        return self._buffers[index][: math.prod(shape)].view(*shape)

    def probabilities(self, piece: _Piece, query: Tensor, keys: Tensor) -> Tensor:
        """Return P of a piece, from its scaled queries and its keys, in buffer 0; buffer 1 is written over."""
        scores = self.product(1, query, keys)
        if self._setting.causal:
            diagonal = scores[..., piece.rows.start :]  # all rows see the keys before
            later = torch.ones(diagonal.shape[1:], dtype=torch.bool, device=scores.device).triu(1)
            diagonal.masked_fill_(later, -math.inf)
        P = self.buffer(0, scores.shape)
        if self._setting.mask is None:
            return torch.softmax(scores, -1, out=P)
        mask = self._setting.mask[piece.samples, piece.heads, piece.rows, piece.keys]
        by_head = scores.view(mask.shape)
        if mask.dtype == torch.bool:
            by_head.masked_fill_(mask.logical_not(), -math.inf)
        else:
            by_head.add_(mask)
        blind = scores.amax(-1, keepdim=True) == -math.inf  # rows that see no key: zero, as in torch
        return torch.softmax(scores, -1, out=P).masked_fill_(blind, 0)


def attended(operands: Sequence[Tensor], setting: Setting) -> Tensor:
    """Return O (samples, heads, T, F) of q (…, T, E), k (…, S, E) and v (…, S, F)."""
    q, k, v = operands
    outputs = q.new_empty(*q.shape[:3], v.shape[3])
    joined = outputs.flatten(0, 1)
    work = _Work(q, k, setting, 2)
    for piece in work.pieces():
        P = work.probabilities(piece, piece.rows_of(q) * setting.scale, piece.keys_of(k))
        torch.bmm(P, piece.keys_of(v), out=joined[piece.together(q.shape[1]), piece.rows])
    return outputs


def gradients(operands: Sequence[Tensor], setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Return dQ, dK, dV of q, k, v, g."""
    q, k, v, g = operands
    results = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    dQ, dK, dV = (result.flatten(0, 1) for result in results)
    work = _Work(q, k, setting, 3)
    for piece in work.pieces():
        query, keys, gradient = piece.rows_of(q) * setting.scale, piece.keys_of(k), piece.rows_of(g)
        P = work.probabilities(piece, query, keys)
        dP = work.product(1, gradient, piece.keys_of(v))
        dS = torch.mul(P, dP, out=work.buffer(2, P.shape))
        dS.addcmul_(P, dS.sum(-1, keepdim=True), value=-1)
        heads = piece.together(q.shape[1])
        torch.bmm(dS, keys, out=dQ[heads, piece.rows]).mul_(setting.scale)
        dK[heads, piece.keys].baddbmm_(dS.mT, query)
        dV[heads, piece.keys].baddbmm_(P.mT, gradient)
    return results


def products(operands: Sequence[Tensor], setting: Setting) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the derivatives of ⟨a, dQ⟩ + ⟨b, dK⟩ + ⟨c, dV⟩ by q, k, v, g; operands q, k, v, g, a, b, c."""
    q, k, v, g, a, b, c = operands
    results = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape), g.new_empty(g.shape)
    by_q, by_k, by_v, by_g = (result.flatten(0, 1) for result in results)
    work = _Work(q, k, setting, 5)
    for piece in work.pieces():
        query, along_q = piece.rows_of(q) * setting.scale, piece.rows_of(a) * setting.scale
        keys, along_k, along_v, gradient = piece.keys_of(k), piece.keys_of(b), piece.keys_of(c), piece.rows_of(g)
        values = piece.keys_of(v)
        P = work.probabilities(piece, query, keys)
        along_P = work.product(1, query, along_k).baddbmm_(along_q, keys.mT).mul_(P)  # P ∘ U so far
        along_P.addcmul_(P, along_P.sum(-1, keepdim=True), value=-1)
        A = work.product(2, gradient, values)
        dS = torch.mul(P, A, out=work.buffer(3, P.shape))
        mean = dS.sum(-1, keepdim=True)
        dS.addcmul_(P, mean, value=-1)
        along_dS = A.sub_(mean).mul_(along_P).addcmul_(P, work.product(4, gradient, along_v))  # dE so far
        along_dS.addcmul_(P, along_dS.sum(-1, keepdim=True), value=-1)
        heads = piece.together(q.shape[1])
        torch.bmm(along_dS, keys, out=by_q[heads, piece.rows]).baddbmm_(dS, along_k).mul_(setting.scale)
        by_k[heads, piece.keys].baddbmm_(along_dS.mT, query).baddbmm_(dS.mT, along_q)
        by_v[heads, piece.keys].baddbmm_(along_P.mT, gradient)
        torch.bmm(along_P, values, out=by_g[heads, piece.rows]).baddbmm_(P, along_v)
    return results
