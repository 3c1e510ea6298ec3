"""A positive matrix on a layer's weights, diagonal in U ⊗ V: what K-FAC and Shampoo divide by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hessent.optimizers.steps.explicit_step import ByParameter


@dataclass(frozen=True, eq=False)
class RotatedBlock:
    """The matrix P with P W = U (E ∘ (Uᵀ W V)) Vᵀ for weights W folded to (pairs, o, a).

    Attributes
    ----------
    parameters : tuple of str
        Whose weights stand side by side in W, along a.
    left, right : Tensor or None
        U (pairs, o, o) and V (pairs, a, a), orthogonal; None for the unit matrix.
    values : Tensor
        E, the eigenvalues, none negative: shape (pairs, o, a).
    """

    parameters: tuple[str, ...]
    left: Tensor | None
    right: Tensor | None
    values: Tensor

    def powered(self, vector: ByParameter, power: float) -> dict[str, Tensor]:
        """Return P^power of a vector's part here; what belongs to eigenvalues of 0 is 0."""
        pairs, rows, _ = self.values.shape
        folded = [vector[name].reshape(pairs, rows, -1) for name in self.parameters]
        alive = self.values > 0
        scaled = self._rotated(torch.cat(folded, dim=-1), back=False)
        scaled = (scaled * self.values.where(alive, 1.0).pow(power)).where(alive, 0.0)
        pieces = torch.split(self._rotated(scaled, back=True), [part.shape[-1] for part in folded], dim=-1)
        return {
            name: piece.reshape(vector[name].shape) for name, piece in zip(self.parameters, pieces, strict=True)
        }

    def _rotated(self, folded: Tensor, *, back: bool) -> Tensor:
        if self.left is not None:
            folded = (self.left if back else self.left.mT) @ folded
        if self.right is not None:
            folded = folded @ (self.right.mT if back else self.right)
        return folded


def powered(blocks: Sequence[RotatedBlock], vector: ByParameter, power: float) -> dict[str, Tensor]:
    """Return P^power of the parts of a vector that blocks cover."""
    found: dict[str, Tensor] = {}
    for block in blocks:
        found |= block.powered(vector, power)
    return found
