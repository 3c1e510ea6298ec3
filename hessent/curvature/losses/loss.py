"""Losses as sums over items, so that a mean over the whole data never depends on how it is cut.

The problem's loss is L = Σ sum / Σ count over all micro-batches.  An item is a sample, or for language models a
valid token: with ignored positions, averaging each batch by itself and then over batches would give a different
function for every batch size.  Every built-in loss is computed in the outputs' dtype and is twice differentiable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from torch import Tensor

from hessent.curvature.matrices.general_forms import GeneralForms
from hessent.curvature.matrices.output_forms import OutputForms


class Loss(ABC):
    """Interface of a loss; it has no state but its parameters.

    Attributes
    ----------
    name : str
        As it stands in results, parameters that differ from the default included.
    """

    name: str

    @cached_property
    def forms(self) -> OutputForms:
        """What stands between the derivatives of the outputs in curvatures other than the Hessian."""
        return GeneralForms(self)

    @abstractmethod
    def sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss summed over the items of a micro-batch, a scalar in the outputs' dtype."""

    def plain_sum(self, outputs: Any, targets: Any) -> Tensor:
        """Return the same for training, whose steps must stay the same however second derivatives are taken."""
        return self.sum(outputs, targets)

    @abstractmethod
    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of items of a micro-batch; zero is possible."""

    def count_targets(self, targets: Any) -> int | None:
        """Return the number of items where the targets alone tell it, else None: the model must be run for it."""
        return None

    @abstractmethod
    def check(self, outputs: Any, targets: Any, where: str) -> None:
        """Refuse targets that do not fit the outputs.

        Raises
        ------
        DataError
            With the value found, the range and what to do.
        """


class SampleLoss(Loss):
    """A loss whose items are samples, one target each."""

    def count(self, outputs: Any, targets: Any) -> int:
        """Return the number of samples."""
        return self.count_targets(targets)

    def count_targets(self, targets: Any) -> int:
        """Return the number of samples."""
        return len(targets)
