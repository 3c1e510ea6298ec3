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

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.operator import Product
from hessent.eigensolver.basis import Basis, project_out
from hessent.eigensolver.requests import Products

Float64Array = NDArray[np.float64]

RESIDUAL_TOLERANCE = 1e-2  # a Ritz pair counts as converged when its residual is below this share of abs(θ)
_KEPT_SHARE = 0.6  # of the basis limit, at a restart


@dataclass(frozen=True)
class RitzPairs:
    """Ritz pairs of a search, all of them.

    Attributes
    ----------
    values : Float64Array
        Ritz values, by falling abs(θ). Shape (j,).
    residuals : Float64Array
        Norms ‖H v − θ v‖. Shape (j,).
    vectors : Tensor
        Orthonormal Ritz vectors as rows, in the order of `values`. Shape (j, n).
    num_matvecs : int
        Products spent.
    groups : Float64Array or None
        Vᵀ H_G V for the mean curvature of every data group, shape (g, j, j).
    """

    values: Float64Array  # (j,)
    residuals: Float64Array  # (j,)
    vectors: Tensor  # (j, n)
    num_matvecs: int
    groups: Float64Array | None = None  # (g, j, j)

    @property
    def num_converged(self) -> int:
        """Length of the leading run of converged pairs, counted by falling abs(θ)."""
        return leading_converged(self.values, self.residuals)

    def leading(self, count: int) -> RitzPairs:
        """Return the `count` pairs of largest abs(θ)."""
        groups = None if self.groups is None else self.groups[:, :count, :count].copy()
        return RitzPairs(
            self.values[:count], self.residuals[:count], self.vectors[:count].clone(), self.num_matvecs, groups
        )


def leading_converged(values: Float64Array, residuals: Float64Array) -> int:
    """Return the length of the leading run of converged Ritz values, given by falling abs(θ)."""
    failing = np.flatnonzero(residuals > RESIDUAL_TOLERANCE * np.abs(values))
    return int(failing[0]) if len(failing) else len(values)


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
        values, vectors = _by_magnitude(self._matrix)
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
        values, vectors = _by_magnitude(self._matrix)
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

    def pairs(self) -> RitzPairs:
        """Return all Ritz pairs of the current basis."""
        values, vectors = _by_magnitude(self._matrix)
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


def _by_magnitude(matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], vectors[:, order]


def _ritz_vectors(coefficients: Float64Array, rows: Tensor) -> Tensor:
    mixing = torch.as_tensor(coefficients.T.copy(), dtype=rows.dtype, device=rows.device)
    return mixing @ rows


def absorb(found: RitzPairs, candidates: Tensor) -> Products[RitzPairs]:
    """Add directions that a search missed (further copies of multiple eigenvalues) to the deflated space.

    A Rayleigh–Ritz step on the part of the candidates orthogonal to what was found.

    Parameters
    ----------
    found : RitzPairs
        Pairs deflated so far.
    candidates : Tensor
        Approximate eigenvectors as rows, shape (c, n).

    Yields
    ------
    Tensor
        The orthonormalised candidates, shape (n, c').

    Returns
    -------
    RitzPairs
        The enlarged set, by falling abs(θ), with its products added.
    """
    dtype = found.vectors.dtype
    fresh = project_out(project_out(candidates.double(), found.vectors), found.vectors)
    singular, right = torch.linalg.svd(fresh, full_matrices=False)[1:]
    # Directions that were mostly found already carry nothing but rounding.
    rows = right[singular > 0.1]
    if len(rows) == 0:
        return found
    product = yield rows.to(dtype).double().T
    images = product.total.T.double()
    projected = (rows @ images.T).cpu().numpy()
    values, vectors = _by_magnitude((projected + projected.T) / 2)
    mixing = torch.as_tensor(vectors.T.copy(), device=rows.device)
    theta = torch.as_tensor(values, device=rows.device)[:, None]
    ritz = mixing @ rows
    residuals = (mixing @ images - theta * ritz).norm(dim=1).cpu().numpy()
    good = residuals <= RESIDUAL_TOLERANCE * np.abs(values)
    all_values = np.concatenate([found.values, values[good]])
    order = np.argsort(-np.abs(all_values), kind="stable")
    vectors_found = torch.cat([found.vectors, ritz.to(dtype)[torch.as_tensor(good)]])[torch.as_tensor(order)]
    groups = None
    if found.groups is not None and product.groups is not None:
        images_of_groups = torch.einsum("gnc,dc->gnd", product.groups.double(), mixing[torch.as_tensor(good)])
        groups = _with_rows(found, ritz[torch.as_tensor(good)], images_of_groups)[:, order][:, :, order]
    return RitzPairs(
        values=all_values[order],
        residuals=np.concatenate([found.residuals, residuals[good]])[order],
        vectors=vectors_found,
        num_matvecs=found.num_matvecs + rows.shape[0],
        groups=groups,
    )


def _with_rows(found: RitzPairs, rows: Tensor, images: Tensor) -> Float64Array:
    """Border the groups' matrices by rows W (c, n) with images H_G W (g, n, c): shape (g, k + c, k + c)."""
    assert found.groups is not None
    beside = torch.einsum("kn,gnc->gkc", found.vectors.double(), images).cpu().numpy()
    within = torch.einsum("dn,gnc->gdc", rows, images).cpu().numpy()
    corner = (within + within.transpose(0, 2, 1)) / 2
    return np.block([[found.groups, beside], [beside.transpose(0, 2, 1), corner]])
