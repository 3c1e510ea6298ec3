"""What steps are made from, and the interface of those who make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hessent.checkpoint.adam_files import StoredState
from hessent.curvature.blocks import FULL, Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.problem import Problem
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep


@dataclass(frozen=True, eq=False)
class Situation:
    """A checkpoint at which steps are taken.

    Attributes
    ----------
    problem : Problem
        Model, loss and data; its loss measured.
    engine : HessianEngine
        Of the Hessian of that problem.
    states : mapping of str to StoredState
        The optimizer's state by parameter; empty where there is none.
    told_state : str
        Where it is from, or why there is none.
    trained : mapping
        The optimizer of the training: name and settings, as far as they are told.
    seed : int
        Of random vectors.
    clip : float or None
        C of steps that have a clipped variant.
    damping : float
        Least eigenvalue of a preconditioner, as a share of its largest.
    """

    problem: Problem
    engine: HessianEngine
    states: Mapping[str, StoredState]
    told_state: str
    trained: Mapping[str, Any]
    seed: int
    clip: float | None
    damping: float

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The parameters in float64."""
        return {name: value.detach().to(torch.float64) for name, value in self.problem.parameters.items()}

    def zeros(self) -> dict[str, Tensor]:
        """Return a zero for every parameter's entry."""
        return {name: torch.zeros_like(value) for name, value in self.weights.items()}

    def flat(self, by_parameter: ByParameter) -> Tensor:
        """Return one vector (n,), in the parameters' order."""
        return torch.cat([by_parameter[name].reshape(-1) for name in self.weights])

    def unflat(self, vector: Tensor) -> dict[str, Tensor]:
        """Undo `flat`."""
        pieces = torch.split(vector, [value.numel() for value in self.weights.values()])
        named = zip(self.weights.items(), pieces, strict=True)
        return {name: piece.view(value.shape) for (name, value), piece in named}

    def products(self, columns: Tensor) -> Tensor:
        """Return H V of columns (n, k), in float64."""
        block = Block(FULL, tuple(self.weights), self.problem.num_params)
        return self.engine.operator(block).matmat(columns.to(self.problem.dtype)).to(torch.float64)


class StepMaker(ABC):
    """Makes the step of one optimizer: sees the gradients of the warm-up one by one, then takes the step.

    Parameters
    ----------
    situation : Situation
        Where.

    Attributes
    ----------
    needs_warmup : bool
        Whether it wants to see them.
    """

    needs_warmup: bool = False

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.seen = 0

    def see(self, gradient: ByParameter) -> None:
        """Take the gradient of the next mini-batch."""
        self.seen += 1
        self.update(gradient)

    def update(self, gradient: ByParameter) -> None:  # noqa: B027 - a maker that needs no warm-up has no state
        """Go on by a gradient."""

    @abstractmethod
    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step at the full gradient.

        Raises
        ------
        InputError
            If there is no such step here.
        """

    @property
    def rebuilt(self) -> str:
        """How the state came about that the warm-up gave, as a clause."""
        return f"rebuilt from {self.seen:,} mini-batch gradient{'s' * (self.seen != 1)} at the fixed weights"
