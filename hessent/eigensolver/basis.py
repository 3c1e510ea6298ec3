"""A growing orthonormal set of vectors, stored as rows.

Vectors are kept in the precision of the products (float32 halves memory and traffic: the rounding it adds to
orthogonality, about 1e-7, is that of the products themselves).  Work vectors and coefficients are float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hessent.eigensolver.saved_state import SavedState, StateReader, grown_rows, numpy_dtype


class Basis:
    """Orthonormal rows q_1 … q_j of length n for p independent problems side by side.

    Parameters
    ----------
    problems : int
        Number p of independent bases.
    size : int
        Length n of a vector.
    dtype : torch.dtype
        Storage precision.
    device : torch.device or str
        Where the rows live.
    """

    def __init__(self, problems: int, size: int, dtype: torch.dtype, device: torch.device | str) -> None:
        self._rows = torch.empty(problems, 16, size, dtype=dtype, device=device)
        self.count = 0
        self._version = 0  # tells the rows from those that were replaced

    @property
    def rows(self) -> Tensor:
        """The vectors so far, shape (p, j, n), in storage precision."""
        return self._rows[:, : self.count]

    @property
    def last(self) -> Tensor:
        """The newest vector of each problem, shape (p, n), float64."""
        return self._rows[:, self.count - 1].double()

    def append(self, vectors: Tensor) -> None:
        """Add one vector (p, n) to each problem; room grows by half."""
        if self.count == self._rows.shape[1]:
            shape = (self._rows.shape[0], self.count + self.count // 2 + 1, self._rows.shape[2])
            grown = torch.empty(shape, dtype=self._rows.dtype, device=self._rows.device)
            grown[:, : self.count] = self._rows
            self._rows = grown
        self._rows[:, self.count] = vectors.to(self._rows.dtype)
        self.count += 1

    def replace(self, rows: Tensor) -> None:
        """Replace all vectors by `rows`, shape (p, j, n)."""
        self._rows = rows.to(self._rows.dtype)
        self.count = rows.shape[1]
        self._version += 1

    def saved_state(self) -> SavedState:
        """Return the rows (p, n) of every step, and the room for more: where they lie decides how they round."""
        small = {"version": np.array([self._version]), "room": np.array([self._rows.shape[1], self.count])}
        return SavedState(small, {f"rows{self._version}": grown_rows(self.rows.transpose(0, 1))})

    def restore(self, state: StateReader, *, most: int) -> None:
        """Take the rows of a saved state, `most` of each problem, for one's own; ValueError if they do not fit."""
        problems, _, size = self._rows.shape
        self._version = state.count("version", 0, 2**62)
        room, count = state.counts("room", 0, 2 * most + 16, (2,))
        if not count <= min(room, most):
            raise ValueError(f"{count} vectors with room for {room}, {most} are allowed")
        self._rows = torch.empty(problems, room, size, dtype=self._rows.dtype, device=self._rows.device)
        rows = state.rows(f"rows{self._version}", [1] * count, (problems, size), numpy_dtype(self._rows.dtype))
        for step, row in enumerate(rows):
            self._rows[:, step] = torch.from_numpy(row[0])
        self.count = count

    def coefficients(self, vectors: Tensor) -> Tensor:
        """Return the inner products with every row, shape (p, j), float64."""
        narrow = vectors.to(self._rows.dtype)
        return torch.bmm(self.rows, narrow[:, :, None])[:, :, 0].double()

    def group_coefficients(self, groups: Tensor) -> Tensor:
        """Return the inner products of every row with the groups' products (g, n, p): shape (g, p, j), float64.

        All groups share one pass over the rows.
        """
        columns = groups.permute(2, 1, 0).to(self._rows.dtype)  # (p, n, g)
        return torch.bmm(self.rows, columns).permute(2, 0, 1).double()

    def combine(self, coefficients: Tensor) -> Tensor:
        """Return Σ_j c_j q_j for coefficients (p, j): shape (p, n), float64."""
        narrow = coefficients.to(self._rows.dtype)
        return torch.bmm(narrow[:, None, :], self.rows)[:, 0].double()

    def orthogonalise(self, vectors: Tensor) -> Tensor:
        """Return `vectors` (p, n) with their components along the rows removed."""
        if self.count == 0:
            return vectors
        return vectors - self.combine(self.coefficients(vectors))


def project_out(vectors: Tensor, outliers: Tensor | None) -> Tensor:
    """Remove from each row of `vectors` (p, n) its component along the orthonormal rows `outliers` (k, n)."""
    if outliers is None or outliers.shape[0] == 0:
        return vectors
    narrow = vectors.to(outliers.dtype)
    return vectors - ((narrow @ outliers.T) @ outliers).double()
