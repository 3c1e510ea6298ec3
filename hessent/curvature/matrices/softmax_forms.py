"""Forms of cross-entropy, row by row of the logits, with p = softmax(f).

    Gauss-Newton        M = diag(p) − p pᵀ, whatever the target: smoothed labels change the gradient alone
    Fisher              M = Σ_y p_y s_y s_yᵀ with the scores s_y = e_y − p; the same in exact arithmetic
    sampled Fisher      M = (1/S) Σ_s s_y s_yᵀ over S labels y drawn from p
    empirical Fisher    M = r rᵀ with the gradient r = p − q at the data's own target q

All of them have M 1 = 0: only differences of displacements count.  So displacements are taken relative to one
class, the likeliest (the target, for the empirical Fisher).  Of a sample that is fitted well p is 1 there, and the
products p z, taken as they stand, would cancel to a few digits; so they never arise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hessent.curvature.cross_entropy import has_few_classes, summed_cross_entropy
from hessent.curvature.matrices.general_forms import beyond_first_order
from hessent.curvature.matrices.output_forms import OutputForms


class SoftmaxForms(OutputForms):
    """The forms of cross-entropy.

    Parameters
    ----------
    label_smoothing : float
        Part of every target's mass that is spread evenly over all classes.
    ignore_index : int or None
        Target of rows that count nothing.
    """

    def __init__(self, *, label_smoothing: float = 0.0, ignore_index: int | None = None) -> None:
        self._label_smoothing = label_smoothing
        self._ignore_index = ignore_index

    def gauss_newton(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ zᵀ (diag(p) − p pᵀ) z; for large vocabularies from the loss itself, with its few buffers."""
        rows, labels, counted = self._rows(at, targets)
        if not has_few_classes(rows):
            ignored = torch.full_like(labels, _IGNORED).where(~counted, labels)

            def loss(logits: Tensor) -> Tensor:
                return summed_cross_entropy(logits, ignored, ignore_index=_IGNORED)

            return beyond_first_order(loss, rows, z.reshape(rows.shape))
        p, w = rows.softmax(1), _relative(z.reshape(rows.shape), rows.argmax(1))
        mean = (p * w).sum(1)
        return 0.5 * ((p * w.square()).sum(1) - mean.square()).where(counted, 0).sum()

    def fisher(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ E_y (s_y · z)², the expectation over all classes y."""
        rows, _, counted = self._rows(at, targets)
        p, scores = self._scores(rows, z)
        return 0.5 * (p * scores.square()).sum(1).where(counted, 0).sum()

    def sampled_fisher(self, at: Any, targets: Any, z: Any, draws: Tensor) -> Tensor:
        """Return ½ Σ (1/S) Σ_s (s_y · z)², with y the class at which the cumulated p exceeds the draw."""
        rows, _, counted = self._rows(at, targets)
        p, scores = self._scores(rows, z)
        drawn = draws.reshape(len(rows), -1)
        labels = torch.searchsorted(p.cumsum(1), drawn).clamp_max(rows.shape[1] - 1)
        return 0.5 * scores.gather(1, labels).square().mean(1).where(counted, 0).sum()

    def empirical_fisher(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ (r · z)² with r = p − q."""
        rows, labels, counted = self._rows(at, targets)
        w = _relative(z.reshape(rows.shape), labels)
        others = rows.softmax(1).scatter(1, labels[:, None], 0.0)  # w is zero at the target: p there says nothing
        along = (others * w).sum(1) - self._label_smoothing * w.mean(1)
        return 0.5 * along.square().where(counted, 0).sum()

    def _rows(self, at: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, C), labels (N,) that are classes everywhere, and which rows count (N,)."""
        rows, labels = at.reshape(-1, at.shape[-1]), targets.reshape(-1)
        if self._ignore_index is None:
            return rows, labels, torch.ones_like(labels, dtype=torch.bool)
        counted = labels != self._ignore_index
        return rows, labels.where(counted, 0), counted

    def _scores(self, rows: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, and s_y · z = z_y − p · z of every class y, both (N, C)."""
        p, w = rows.softmax(1), _relative(z.reshape(rows.shape), rows.argmax(1))
        return p, w - (p * w).sum(1, keepdim=True)


_IGNORED = -100


def _relative(z: Tensor, classes: Tensor) -> Tensor:
    """Displacements less that of one class of each row."""
    return z - z.gather(1, classes[:, None])
