"""The eigenpairs of largest magnitude, by thick-restart Lanczos with full orthogonalisation.

The projected matrix T = Qᵀ H Q is kept whole (it is tridiagonal until the first restart, an arrow afterwards).
When the basis has reached its limit it is cut to the Ritz vectors of largest abs(θ) plus the residual direction
and grows again, so memory is bounded by `basis_limit` vectors; without a limit this is the plain Lanczos method.
A Krylov space that closes is continued with a fresh random direction, which also finds further copies of multiple
eigenvalues.

Where products come with the contributions of data groups, Qᵀ H_G Q is built up beside T in the same way: for every
Ritz vector V of the search, Vᵀ H_G V is known for each group without a further product.

References
----------
K. Wu and H. Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix Anal.
Appl. 22, 2000.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.operator import Product
from hessent.eigensolver.basis import Basis
from hessent.eigensolver.requests import Products
from hessent.eigensolver.ritz_pairs import RitzPairs, by_magnitude
from hessent.eigensolver.saved_state import SavedState, StateReader, numpy_dtype

Float64Array = NDArray[np.float64]

_KEPT_SHARE = 0.6  # of the basis limit, at a restart


class OutlierSearch:
    """A thick-restart Lanczos run from one start vector, which can be continued from where it stopped.

    Parameters
    ----------
    start : Tensor
        Start vector, shape (n,).
    basis_limit : int
        Most vectors that may be kept.
    dtype : torch.dtype
        Precision of the products and of stored vectors.
    fresh : Tensor
        Random vectors to go on with when the Krylov space closes, shape (r, n).
    """

    def __init__(self, start: Tensor, *, basis_limit: int, dtype: torch.dtype, fresh: Tensor) -> None:
        self._basis = Basis(1, start.shape[0], dtype, start.device)
        self._limit = max(basis_limit, 8)
        self._epsilon = 8 * torch.finfo(dtype).eps
        self._fresh = list(fresh.double())
        self._matrix = np.zeros((0, 0))
        self._groups: Float64Array | None = None  # Qᵀ H_G Q, (g, j, j)
        self._coupling = 0.0  # β between the basis and the next direction
        self._scale = 0.0
        self._num_matvecs = 0
        self._direction: Tensor | None = None
        self._take_direction(start.double()[None])

    @property
    def num_matvecs(self) -> int:
        """Products asked for so far."""
        return self._num_matvecs

    @property
    def finished(self) -> bool:
        """Whether the whole space has been searched."""
        return self._direction is None

    def extend(self, num_steps: int) -> Products[None]:
        """Spend up to `num_steps` further products.

        Yields
        ------
        Tensor
            One column, shape (n, 1).
        """
        for _ in range(num_steps):
            if self._direction is None:
                return
            product = yield self._direction.T
            self._step(product)

    def ritz_values(self) -> tuple[Float64Array, Float64Array]:
        """Return Ritz values by falling abs(θ), shape (j,), and the norms of their residuals, shape (j,)."""
        values, vectors = by_magnitude(self._matrix)
        return values, self._residuals(vectors)

    def _step(self, product: Product) -> None:
        """Add the current direction, whose product is `product` (n, 1), to the basis."""
        assert self._direction is not None
        self._num_matvecs += 1
        if self._basis.count >= self._limit:
            self._restart()
        self._basis.append(self._direction)
        image = product.total.T.double()
        row = self._basis.coefficients(image)
        residual = image - self._basis.combine(row)
        residual = self._basis.orthogonalise(residual)
        # The last coefficient in full float64; the others are couplings that orthogonality makes small.
        column = row[0].cpu().numpy()
        column[-1] = float((self._direction.to(self._basis.rows.dtype).double() * image).sum())
        self._matrix = _grown(self._matrix[None], column[None])[0]
        if product.groups is not None:
            columns = self._basis.group_coefficients(product.groups)[:, 0].cpu().numpy()
            before = self._groups if self._groups is not None else np.zeros((len(columns), 0, 0))
            self._groups = _grown(before, columns)
        self._scale = max(self._scale, float(np.abs(column).max()))
        self._take_direction(residual)

    def _restart(self) -> None:
        """Cut the basis to the leading Ritz vectors; the current direction, orthogonal to all of them, goes on.

        Done just before a step, never after the last one: `pairs` needs the matrix from before the cut, whose
        eigenvectors hold the residuals.
        """
        values, vectors = by_magnitude(self._matrix)
        kept = max(int(_KEPT_SHARE * self._limit), 1)
        self._basis.replace(_ritz_vectors(vectors[:, :kept], self._basis.rows[0])[None])
        self._matrix = np.diag(values[:kept])
        self._groups = _rotated(self._groups, vectors[:, :kept])

    def _take_direction(self, residual: Tensor) -> None:
        """Normalise the next direction, or draw a fresh one where the Krylov space is closed."""
        norm = float(residual.norm())
        self._coupling = norm
        if norm <= self._epsilon * self._scale or norm == 0.0:
            self._coupling = 0.0
            if self._basis.count >= residual.shape[1] or not self._fresh:
                self._direction = None
                return
            residual = self._basis.orthogonalise(self._basis.orthogonalise(self._fresh.pop()[None]))
        self._direction = (residual / residual.norm()).to(self._basis.rows.dtype).double()

    def saved_state(self) -> SavedState:
        """Return all there is to go on from, but for the start vector and the fresh ones."""
        small = {
            "matrix": self._matrix,
            "coupling_and_scale": np.array([self._coupling, self._scale]),
            "num_matvecs": np.array([self._num_matvecs]),
            "num_fresh": np.array([len(self._fresh)]),
        }
        if self._groups is not None:
            small["groups"] = self._groups
        direction = self._basis.rows[0, :0] if self._direction is None else self._direction  # none when finished
        small["direction"] = direction.to(self._basis.rows.dtype).cpu().numpy()
        return SavedState(small) | self._basis.saved_state().within("basis")

    def restore(self, state: StateReader, *, data_groups: int) -> None:
        """Go on from a saved state, in a search that has taken no step; ValueError if it does not fit."""
        self._basis.restore(state.within("basis"), most=self._limit)
        count, narrow = self._basis.count, self._basis.rows
        self._matrix = state.array("matrix", (count, count))
        self._coupling, self._scale = state.array("coupling_and_scale", (2,)).tolist()
        self._num_matvecs = state.count("num_matvecs", count, 2**62)
        self._groups = state.array("groups", (data_groups, count, count)) if data_groups and count else None
        del self._fresh[state.count("num_fresh", 0, len(self._fresh)) :]
        found = state.array("direction", (None, narrow.shape[2]), numpy_dtype(narrow.dtype))
        if len(found) > 1:
            raise ValueError(f"{len(found)} directions to go on with, expected one")
        self._direction = torch.tensor(found, device=narrow.device).double() if len(found) else None

    def pairs(self) -> RitzPairs:
        """Return all Ritz pairs of the current basis."""
        values, vectors = by_magnitude(self._matrix)
        return RitzPairs(
            values,
            self._residuals(vectors),
            _ritz_vectors(vectors, self._basis.rows[0]),
            self._num_matvecs,
            _rotated(self._groups, vectors),
        )

    def _residuals(self, vectors: Float64Array) -> Float64Array:
        # H Q = Q T + β q eᵀ: the residual of a Ritz pair is β times its last component.
        return self._coupling * np.abs(vectors[-1]) if len(vectors) else np.zeros(0)


def _grown(matrices: Float64Array, columns: Float64Array) -> Float64Array:
    """Border symmetric matrices (g, j − 1, j − 1) by their last columns (g, j): shape (g, j, j)."""
    size = columns.shape[1]
    grown = np.zeros((len(matrices), size, size))
    grown[:, :-1, :-1] = matrices
    grown[:, -1, :] = grown[:, :, -1] = columns
    return grown


def _rotated(matrices: Float64Array | None, vectors: Float64Array) -> Float64Array | None:
    """Return Yᵀ M Y for each of the matrices (g, j, j) and columns Y (j, k): shape (g, k, k)."""
    return None if matrices is None else vectors.T @ matrices @ vectors


def _ritz_vectors(coefficients: Float64Array, rows: Tensor) -> Tensor:
    mixing = torch.as_tensor(coefficients.T.copy(), dtype=rows.dtype, device=rows.device)
    return mixing @ rows
