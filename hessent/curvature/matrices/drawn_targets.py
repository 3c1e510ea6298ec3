"""Targets with random numbers beside them, from which others are drawn in their place.

The numbers belong to the sample, by its place in the data: the same ones on every pass, however the data is cut.
They come from Philox, whose stream can be entered anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hessent.curvature.containers import pairs
from hessent.curvature.losses.loss import Loss
from hessent.errors import UsageError

_STEP = 4  # numbers of Philox's stream that one step of it gives


class DrawnTargets:
    """Micro-batches whose targets are {"targets": as they were, "draws": uniform numbers (*targets.shape, S)}.

    Parameters
    ----------
    batches : iterable of (inputs, targets)
        A re-iterable; targets are one tensor.
    draws : int
        Numbers S per target.
    seed : int
        Of the stream.

    Attributes
    ----------
    plain : iterable
        The micro-batches as they were.
    name, order
        Of those, where they have them: they go into messages.
    """

    def __init__(self, batches: Any, draws: int, seed: int) -> None:
        self.plain = batches
        self.name = getattr(batches, "name", None)
        self.order = getattr(batches, "order", None)
        self._draws = draws
        self._seed = seed

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, targets with draws).

        Raises
        ------
        UsageError
            If the targets are not one tensor.
        """
        first = 0
        for inputs, targets in pairs(self.plain):
            if not isinstance(targets, Tensor):
                raise UsageError(
                    f"targets are a {type(targets).__name__}",
                    expected="one tensor, to draw others in its place",
                    fix="--curvature fisher without --fisher-samples, or --curvature ggn",
                )
            yield inputs, {"targets": targets, "draws": self._uniform(first, targets)}
            first += len(targets)

    def _uniform(self, first: int, targets: Tensor) -> Tensor:
        each = math.prod(targets.shape[1:]) * self._draws
        steps = -(-each // _STEP)  # of the stream, per sample: every sample begins with a step of its own
        stream = np.random.Generator(np.random.Philox(key=self._seed).advance(first * steps))
        numbers = stream.random((len(targets), steps * _STEP))[:, :each]
        return torch.from_numpy(np.ascontiguousarray(numbers)).reshape(*targets.shape, self._draws)


class DrawnTargetsLoss(Loss):
    """A loss that finds its targets beside draws.

    Parameters
    ----------
    loss : Loss
        Of the targets alone.
    """

    def __init__(self, loss: Loss) -> None:
        self.name = loss.name
        self.forms = loss.forms
        self._loss = loss

    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of the targets as they are."""
        return self._loss.sum(outputs, _plain(targets))

    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of items."""
        return self._loss.count(outputs, _plain(targets))

    def count_targets(self, targets: Any) -> int | None:
        """Return the number of items where the targets tell it."""
        return self._loss.count_targets(_plain(targets))

    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse targets that do not fit the outputs.

        Raises
        ------
        DataError
            As the loss does.
        """
        self._loss.check(outputs, _plain(targets), where)


def _plain(targets: Any) -> Any:
    """The targets without the draws; some callers have none yet."""
    return targets["targets"] if isinstance(targets, dict) else targets
