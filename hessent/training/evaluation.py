"""Loss and accuracy of a network over whole splits, in eval mode: what a checkpoint says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hessent.curvature.losses.loss import Loss
from hessent.data.dataset import Dataset
from hessent.data.stream import BatchStream
from hessent.errors import DataError

EVALUATION_BATCH = 512  # samples at a time; bounds memory, and sums over items do not depend on it


@dataclass(frozen=True)
class Score:
    """How good a network is on a split.

    Attributes
    ----------
    loss : float
        Mean over the items (samples, or valid tokens), in the loss's unit (nats for cross-entropy).
    accuracy : float or None
        Share of items whose largest output is the target, 0 … 1; None where targets are not classes.
    """

    loss: float
    accuracy: float | None


def evaluate(model: nn.Module, loss: Loss, dataset: Dataset, *, device: torch.device, dtype: torch.dtype) -> Score:
    """Score a network on a whole dataset in eval mode; its mode is set back afterwards.

    Raises
    ------
    DataError
        If targets do not fit the outputs, or the loss counts no item at all.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _score(
                model, loss, BatchStream(dataset, batch_size=EVALUATION_BATCH), device=device, dtype=dtype
            )
    finally:
        model.train(was_training)


def _score(
    model: nn.Module,
    loss: Loss,
    batches: BatchStream,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Score:
    total, items, hits, countable = 0.0, 0, 0, True
    for batch in batches:
        inputs, targets = place(batch, device, dtype)
        outputs = model(inputs)
        loss.check(outputs, targets, batches.name)
        total += float(loss.plain_sum(outputs, targets))
        items += loss.count(outputs, targets)
        found = _hits(outputs, targets, loss)
        countable = countable and found is not None
        hits += found or 0
    if items == 0:
        raise DataError(f"{loss.name} counts no item in it", where=batches.name, fix="data with targets to learn")
    return Score(total / items, hits / items if countable else None)


def place(batch: tuple[Tensor, Tensor], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Move a batch to the device, floating tensors in the run's dtype; tokens and labels stay integers."""
    first, second = (
        tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device) for tensor in batch
    )
    return first, second


def _hits(outputs: Any, targets: Tensor, loss: Loss) -> int | None:
    """Return how many items have their target as the largest output, None where that question has no sense."""
    if targets.is_floating_point() or not isinstance(outputs, Tensor) or outputs.ndim != targets.ndim + 1:
        return None
    valid = targets >= 0
    if int(valid.sum()) != loss.count(outputs, targets):  # the loss leaves out items by a rule of its own
        return None
    return int(((outputs.argmax(dim=-1) == targets) & valid).sum())
