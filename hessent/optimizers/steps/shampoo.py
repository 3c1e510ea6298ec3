"""Shampoo: the gradient of each tensor between inverse roots of its second moments from both sides.

    L ← L + G Gᵀ,    R ← R + Gᵀ G,    d = −η L^{−1/4} G R^{−1/4}

for G folded to a matrix (o, the rest), as a convolution's K-FAC is; the gradient of the step itself is part of L
and R.  A vector has one side, with L^{−1/2}: Adagrad with the full matrix.  A side longer than 1,024 keeps the
diagonal of its moments alone.  Every L and R has 1e-6 of its largest eigenvalue added, so that directions that no
gradient had are not divided by 0.  States of Shampoo have no common format: they are rebuilt, from moments of 0.

References
----------
Gupta, Koren, Singer (2018), Shampoo: preconditioned stochastic tensor optimization.
Anil, Gupta, Koren, Regan, Singer (2020), Scalable second order optimization for deep learning (the added share).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hessent.measures.step_analysis import REBUILT
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.rotated_block import RotatedBlock, powered
from hessent.optimizers.steps.situation import Situation, StepMaker

LARGEST_SIDE = 1_024
_ADDED = 1e-6
_CUSTOMARY_RATE = 0.1


@dataclass(eq=False)
class _Moments:
    """Second moments of one tensor's gradients; of a side that is too long, their diagonal."""

    left: Tensor
    right: Tensor | None

    @classmethod
    def of(cls, weight: Tensor) -> _Moments:
        rows, columns = folded(weight).shape
        return cls(_zeros(weight, rows), _zeros(weight, columns) if weight.ndim > 1 else None)

    def plus(self, gradient: Tensor) -> _Moments:
        matrix = folded(gradient)
        right = None if self.right is None else self.right + _moments(matrix.T, self.right)
        return _Moments(self.left + _moments(matrix, self.left), right)

    def block(self, name: str) -> RotatedBlock:
        left, rows = _decomposed(self.left)
        if self.right is None:
            return RotatedBlock((name,), left, None, rows.sqrt()[None, :, None])
        right, columns = _decomposed(self.right)
        return RotatedBlock((name,), left, right, (rows[:, None] * columns[None, :]).pow(0.25)[None])


class Shampoo(StepMaker):
    """Shampoo."""

    needs_warmup = True

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._moments = {name: _Moments.of(value) for name, value in situation.weights.items() if value.numel()}

    def update(self, gradient: ByParameter) -> None:
        """Take the gradient into L and R."""
        self._moments = self._after(gradient)

    def _after(self, gradient: ByParameter) -> dict[str, _Moments]:
        return {name: moments.plus(gradient[name]) for name, moments in self._moments.items()}

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step."""
        blocks = [moments.block(name) for name, moments in self._after(gradient).items()]
        empty = {name: value for name, value in self.situation.zeros().items() if not value.numel()}

        def direction(other: ByParameter) -> dict[str, Tensor]:
            found = {name: -value for name, value in powered(blocks, other, -1.0).items()}
            return {name: found.get(name, value) for name, value in other.items()}

        return ExplicitStep(
            optimizer="shampoo",
            source=REBUILT,
            told=self._told(),
            direction=direction(gradient),
            apply=direction,
            linear=True,
            inverse_root=lambda vector: {**powered(blocks, vector, -0.5), **empty},
            stable_up_to=2.0,
            customary_rate=_CUSTOMARY_RATE,
        )

    def _told(self) -> str:
        sides = [side for own in self._moments.values() for side in (own.left, own.right) if side is not None]
        long = sum(side.ndim == 1 for side in sides)
        return self.rebuilt + (
            f"; {long} of {len(sides)} sides are longer than {LARGEST_SIDE:,} and diagonal" if long else ""
        )


def folded(tensor: Tensor) -> Tensor:
    """Return a tensor as a matrix: (o, the rest), a vector as one column."""
    return tensor.reshape(-1, 1) if tensor.ndim < 2 else tensor.reshape(len(tensor), -1)


def _zeros(weight: Tensor, side: int) -> Tensor:
    shape = (side, side) if side <= LARGEST_SIDE else (side,)
    return torch.zeros(shape, dtype=torch.float64, device=weight.device)


def _moments(matrix: Tensor, like: Tensor) -> Tensor:
    return matrix @ matrix.T if like.ndim == 2 else matrix.square().sum(dim=1)


def _decomposed(moments: Tensor) -> tuple[Tensor | None, Tensor]:
    """Eigenvectors (None for a diagonal) with a leading 1, and eigenvalues with the share added."""
    if moments.ndim == 1:
        values, vectors = moments, None
    else:
        values, vectors = torch.linalg.eigh(moments)
        vectors = vectors[None]
    return vectors, values.clamp_min(0.0) + _ADDED * values.max().clamp_min(0.0)
