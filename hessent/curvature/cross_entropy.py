"""Cross-entropy that keeps one tensor of the logits' size for its second derivative, and makes one for a product.

For a language model the logits z (N, V) are the largest tensor of all, and every further tensor of their size costs
as much again.  With p = softmax(z) and q the target's distribution,

    loss = −Σ q · log p        gradient  d = g (p − q)        second backward  H u = g p ∘ (u − p · u)

torch composes the second backward of several operations: beside d (which the layer below keeps for its own second
derivative) the graph holds the log-probabilities and the dense one-hot targets, and a pass through it makes five
more tensors.  Here the graph keeps d alone, from which g p is told row by row: they differ by q, a number in each
row's target and a constant.  Rows are worked on in pieces that fit the processor's caches, so that no temporary is
ever of the logits' size, and targets never become dense.

Few classes are another matter: there nothing is large, but samples may be fitted so well that the loss is a
difference of nearly equal numbers; see `_from_the_others`.

The gradient scale g is 1 wherever a loss is differentiated by itself; where g itself needs a derivative, or several
are batched, and for third derivatives, the same formulas are composed of torch's differentiable operations.  Inside
torch.func's transforms (forward-mode differentiation, vmap of the loss) torch's own cross-entropy serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import functional

_FEW_CLASSES = 256  # fewer never make the logits the largest tensor, and torch's own operations are faster there
_SMALL = 2**18  # entries of logits (1 MiB in float32) up to which a call costs more than memory: torch's serve
_LINEAR = 40.0  # exp(-40) is nothing beside 40 in float64
_PIECE = 2**18  # entries of the rows worked on at once: they and two temporaries stay in a processor's cache


def summed_cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, ignore_index: int = -100
) -> Tensor:
    """Return Σ −log softmax(logits)[target] over the rows that are not ignored, any times differentiable.

    Parameters
    ----------
    logits : Tensor
        Shape (N, V), floating-point.
    targets : Tensor
        Class indices 0 … V - 1 or `ignore_index`, int64, shape (N,).
    label_smoothing : float
        Part ε of every target's mass that is spread evenly over all classes.
    ignore_index : int
        Target of rows that count nothing.

    Returns
    -------
    Tensor
        Scalar in nats, in the logits' dtype.

    Raises
    ------
    RuntimeError or IndexError
        If a target is no class (on a GPU torch's assertion, when it is next asked).
    """
    few = has_few_classes(logits)
    if few and label_smoothing == 0.0 and logits.shape[1] > 1:
        return _from_the_others(logits, targets, ignore_index)
    if few or not is_plain(logits):
        return functional.cross_entropy(
            logits, targets, reduction="sum", label_smoothing=label_smoothing, ignore_index=ignore_index
        )
    counted = targets != ignore_index
    labels = targets.where(counted, 0)[:, None]
    return _summed_loss(logits, labels, counted[:, None], label_smoothing)


def has_few_classes(logits: Tensor) -> bool:
    """Whether logits (N, V) are so few that torch's own operations are faster than those that save memory."""
    return logits.numel() <= _SMALL or logits.shape[1] < _FEW_CLASSES


def _from_the_others(logits: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    """The same sum as Σ log(1 + Σ_others exp(z_j − z_target)).

    Of a sample that is fitted well, 1 − p of the target is a tiny difference: taken from p, it keeps few digits in
    float32, and with it the gradient and all of the curvature.  Here it is never formed.
    """
    counted = targets != ignore_index
    labels = targets.where(counted, 0)[:, None]
    classes = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, classes + (classes >= labels))
    margins = others.logsumexp(1) - logits.gather(1, labels)[:, 0]
    # Beyond the threshold softplus is taken for linear: only where that is exact in float64 too.
    return functional.softplus(margins, threshold=_LINEAR).where(counted, 0).sum()


def is_plain(tensor: Tensor) -> bool:
    """Tell whether neither a torch.func transform nor forward-mode differentiation is at work on a tensor."""
    try:
        tensor.untyped_storage()
    except NotImplementedError:  # transforms wrap tensors; a wrapper has no storage of its own
        return False
    unpack: Callable[[Tensor], Any] = forward_ad.unpack_dual
    return unpack(tensor).tangent is None


class _SummedLoss(Function):
    """Logits (N, V) to the scalar loss."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, counted: Tensor, smoothing: float) -> Tensor:
        ctx.save_for_backward(logits, labels, counted)
        ctx.smoothing = smoothing
        parts = []
        for rows in _pieces(logits):
            logs = logits[rows].log_softmax(1)
            picked = logs.gather(1, labels[rows])
            if smoothing:
                picked = picked * (1 - smoothing) + logs.mean(1, keepdim=True) * smoothing
            parts.append(picked)
        return -torch.cat(parts).where(counted, 0).sum()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None, None]:
        logits, labels, counted = ctx.saved_tensors
        if scale.requires_grad or not is_plain(scale):
            gradient = (logits.softmax(1) - _target_mass(logits, labels, ctx.smoothing)) * (scale * counted)
        else:
            gradient = _gradient(logits, labels, counted, scale, ctx.smoothing)
        return gradient, None, None, None


class _Gradient(Function):
    """Logits (N, V) to the loss's gradient g (p − q), of which p is told again for H u."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, counted: Tensor, scale: Tensor, smoothing: float
    ) -> Tensor:
        weights = scale * counted  # (N, 1)
        gradient = logits.new_empty(logits.shape)
        picked = torch.empty_like(weights)
        for rows in _pieces(logits):
            piece = gradient[rows]
            torch.softmax(logits[rows], 1, out=piece)
            # The target's own p is kept: where it is tiny, p - 1 has forgotten it.
            picked[rows] = piece.gather(1, labels[rows])
            piece.scatter_(1, labels[rows], picked[rows] - (1 - smoothing))
            if smoothing:
                piece.sub_(smoothing / logits.shape[1])
            piece.mul_(weights[rows])
        ctx.save_for_backward(gradient, labels, weights, picked)
        ctx.smoothing = smoothing
        return gradient

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor, None, None, None, None]:
        gradient, labels, weights, picked = ctx.saved_tensors
        if torch.is_grad_enabled():  # a third derivative is wanted
            scaled = gradient + weights * _target_mass(gradient, labels, ctx.smoothing)
            product = _softmax_product(scaled, vector, weights)
            return product, None, None, None, None
        product = vector.new_empty(vector.shape)
        for rows in _pieces(gradient):
            scaled = gradient[rows] + weights[rows] * (ctx.smoothing / gradient.shape[1])
            scaled.scatter_(1, labels[rows], picked[rows] * weights[rows])
            product[rows] = _softmax_product(scaled, vector[rows], weights[rows])
        return product, None, None, None, None


_summed_loss: Callable[..., Tensor] = _SummedLoss.apply
_gradient: Callable[..., Tensor] = _Gradient.apply


def _softmax_product(scaled: Tensor, vector: Tensor, weights: Tensor) -> Tensor:
    """Return g p ∘ (u − p · u) of rows with g p given; weights g (N, 1), where 0 stands for rows that give 0."""
    mean = (scaled * vector).sum(1, keepdim=True) / weights.where(weights != 0, 1)
    return (vector - mean) * scaled


def _target_mass(like: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the targets' distribution q, dense (N, V); for the rare paths only."""
    mass = torch.full_like(like.detach(), smoothing / like.shape[1])
    return mass.scatter(1, labels, 1 - smoothing + smoothing / like.shape[1])


def _pieces(logits: Tensor) -> Iterator[slice]:
    """Cut the rows of (N, V) into pieces of at most `_PIECE` entries, or of one row."""
    step = max(1, _PIECE // logits.shape[1])
    for start in range(0, logits.shape[0], step):
        yield slice(start, start + step)
