"""What every engine must offer: exact Hessian products of one micro-batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.problem import Problem


class MicroBatch(ABC):
    """The SUMMED objective of one micro-batch, ready to be multiplied with.

    Parameters
    ----------
    problem : Problem
        Defines curvature, loss and parameters.
    inputs, targets
        The micro-batch, already on the device.
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any) -> None:
        self.problem = problem

    @abstractmethod
    def products(self, block: Block, V: Tensor) -> Tensor:
        """Return the product of the summed Hessian's principal submatrix with columns.

        Parameters
        ----------
        block : Block
            Which principal submatrix.
        V : Tensor
            Columns of shape (n_b, k), in the problem's dtype.

        Returns
        -------
        Tensor
            Shape (n_b, k).
        """

    @property
    @abstractmethod
    def gradients(self) -> Mapping[str, Tensor]:
        """Gradient of the summed objective, by parameter."""

    def release(self, parameters: Collection[str]) -> None:
        """Let go of what only products with other blocks than those of these parameters would need."""
        # Nothing, for engines whose parts do not hang on parameters.
        return


def unflatten(V: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut columns (n_b, k) into one tensor of shape (k, *shape) per parameter."""
    pieces = torch.split(V.T, [parameter.numel() for parameter in like], dim=1)
    return [piece.reshape(V.shape[1], *parameter.shape) for piece, parameter in zip(pieces, like, strict=True)]
