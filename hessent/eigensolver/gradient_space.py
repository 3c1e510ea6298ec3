"""The space in which functions of H act on the gradient: f(H) g and g·f(H)g for any f, from one Lanczos run.

After m steps of Lanczos started at g/‖g‖, with orthonormal rows B, tridiagonal T = B H Bᵀ = S diag(θ) Sᵀ and Ritz
vectors y_j = Bᵀ s_j,

    f(H) g ≈ ‖g‖ Bᵀ f(T) e_1 = Σ_j √w_j f(θ_j) y_j,     √w_j = ‖g‖ S_1j,     g·f(H)g ≈ Σ_j w_j f(θ_j).

Ritz vectors are turned so that S_1j ≥ 0.  Both are exact once the Krylov space is invariant.  For the vector
u = f(H) g as computed here, g·u = Σ w f(θ) and u·Hu = Σ w θ f(θ)² hold up to rounding at every m, because
B H Bᵀ = T: what is predicted for u is right for the very vector that is walked along; the error bars tell how far
that is from the true f(H) g.

`formed_space` is the same from the formed matrix, with all n eigenvectors for Ritz vectors and nothing left to
estimate.

Reference: N. J. Higham, *Functions of Matrices*, 2008, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.kept_lanczos import KeptRun, kept_lanczos
from hessent.estimate import Estimate
from hessent.measures.gradient_quadrature import GradientQuadrature
from hessent.measures.spectral_functions import SpectralFunction

Float64Array = NDArray[np.float64]

_COLUMNS = 64  # unit vectors at once


class GradientSpace:
    """Ritz vectors of H in a space that holds the gradient.

    Parameters
    ----------
    quadrature : GradientQuadrature
        Ritz values, the gradient's weights on them, and what earlier steps said.
    rows : Tensor
        Orthonormal basis, shape (m, n), float64 or float32.
    rotation : Float64Array or None
        S, column j holds the coefficients of Ritz vector j, shape (m, m); None where the rows are those vectors.
    num_matvecs : int
        Products spent.
    """

    def __init__(
        self, quadrature: GradientQuadrature, rows: Tensor, rotation: Float64Array | None, num_matvecs: int
    ) -> None:
        self.quadrature, self.num_matvecs = quadrature, num_matvecs
        self._rows, self._rotation = rows, rotation

    @property
    def values(self) -> Float64Array:
        """Ritz values θ, ascending, shape (m,)."""
        return self.quadrature.values

    @property
    def weights(self) -> Float64Array:
        """Squares of the gradient's components, ‖g‖² together, shape (m,)."""
        return self.quadrature.weights

    @property
    def residuals(self) -> Float64Array:
        """‖H y − θ y‖, shape (m,)."""
        return self.quadrature.residuals

    @property
    def closed(self) -> bool:
        """Whether everything is exact up to rounding."""
        return self.quadrature.closed

    @property
    def size(self) -> int:
        """Dimension n."""
        return self.quadrature.size

    def sum_of(self, function: SpectralFunction) -> Estimate:
        """Return g·h(H)g with its error."""
        return self.quadrature.sum_of(function)

    def combine(self, coefficients: Float64Array) -> Tensor:
        """Return Σ_j c_j y_j for coefficients (m,) along the Ritz vectors: shape (n,), float64."""
        inner = coefficients if self._rotation is None else self._rotation @ coefficients
        return self._of_rows(inner)

    def apply(self, function: SpectralFunction) -> Tensor:
        """Return f(H) g, shape (n,), float64."""
        return self.combine(self.quadrature.components * function(self.values))

    def earlier(self, function: SpectralFunction) -> list[Tensor]:
        """Return f(H) g by four fifths and by half of the steps, each (n,); nothing where closed."""
        if self.closed or self._rotation is None:
            return []
        length = len(self.values)
        tridiagonal = (self._rotation * self.values) @ self._rotation.T
        norm = float(np.sqrt(self.quadrature.norm_squared))
        found = []
        for part in (4 * length // 5, length // 2):
            if part > 0:
                values, vectors = np.linalg.eigh(tridiagonal[:part, :part])
                found.append(self._of_rows(norm * (vectors @ (function(values) * vectors[0]))))
        return found

    def converged(self, most: int | None = None) -> tuple[Float64Array, Tensor, Float64Array]:
        """Return the converged pairs by falling abs(θ), `most` of them at most.

        Returns
        -------
        eigenvalues : Float64Array
            Shape (k,).
        vectors : Tensor
            Orthonormal columns, shape (n, k), float64, turned along the gradient.
        components : Float64Array
            ĝ = vᵀ g ≥ 0, shape (k,).
        """
        places = self.quadrature.converged[:most]
        return self.values[places], self.vectors(places), self.quadrature.components[places]

    def vectors(self, places: NDArray[np.intp]) -> Tensor:
        """Return the Ritz vectors at places of `values`: columns (n, k), float64, turned along the gradient."""
        if self._rotation is None:
            return self._rows[torch.as_tensor(places)].T.double()
        inner = torch.as_tensor(np.ascontiguousarray(self._rotation[:, places])).to(self._rows)
        return (self._rows.T @ inner).double()

    def moves_of(self, vector: Tensor) -> Float64Array:
        """Return the components of a vector (n,) along the Ritz vectors, shape (m,)."""
        inner = (self._rows @ vector.to(self._rows)).double().cpu().numpy()
        return inner if self._rotation is None else self._rotation.T @ inner

    def _of_rows(self, coefficients: Float64Array) -> Tensor:
        inner = torch.as_tensor(coefficients).to(self._rows)
        return (self._rows[: len(inner)].T @ inner).double()


def krylov_space(
    operator: SymmetricOperator,
    gradient: Tensor,
    *,
    steps: int = 60,
    memory: int,
    advanced: Callable[[int], None] = lambda count: None,
) -> GradientSpace:
    """Run Lanczos from the gradient.

    Parameters
    ----------
    operator : SymmetricOperator
        H.
    gradient : Tensor
        Shape (n,); not zero.
    steps : int
        Products; fewer where the space closes earlier, or where memory does not take so many vectors.
    memory : int
        Bytes for vectors: float64 where that is enough for all steps, else float32.
    advanced : callable
        Told after each product how many were done; what it raises ends the run.

    Raises
    ------
    UsageError
        If memory does not take the vectors of ten steps.
    ValueError
        If the gradient is zero or not finite.
    """
    norm = _checked_norm(gradient)
    return _of_run(kept_lanczos(operator, gradient, steps=steps, memory=memory, advanced=advanced), norm)


def _of_run(run: KeptRun, norm: float) -> GradientSpace:
    values, rotation = run.ritz(len(run.alphas))
    steps, size = run.rows.shape
    shorter = range(steps - 1, (steps + 1) // 2 - 1, -1) if not run.closed else ()
    earlier = [(own, norm**2 * vectors[0] ** 2) for own, vectors in map(run.ritz, shorter)]
    residuals = np.zeros(steps) if run.closed else np.abs(run.betas[-1] * rotation[-1])
    quadrature = GradientQuadrature(
        values,
        norm**2 * rotation[0] ** 2,
        residuals,
        size,
        closed=run.closed,
        complete=steps == size,
        earlier=tuple(earlier),
    )
    return GradientSpace(quadrature, run.rows, rotation, steps)


def formed_space(
    operator: SymmetricOperator, gradient: Tensor, *, advanced: Callable[[int], None] = lambda count: None
) -> GradientSpace:
    """Form the matrix from n unit vectors: all is exact up to the rounding of the products.

    Parameters
    ----------
    operator : SymmetricOperator
        H; n² float64 numbers must fit in memory a few times.
    gradient : Tensor
        Shape (n,); not zero.
    advanced : callable
        Told after each batch of products how many were done; what it raises ends the work.

    Raises
    ------
    ValueError
        If the gradient is zero or not finite.
    """
    _checked_norm(gradient)
    size = operator.size
    matrix = torch.empty(size, size, dtype=torch.float64, device=operator.device)
    for start in range(0, size, _COLUMNS):
        stop = min(start + _COLUMNS, size)
        columns = torch.zeros(size, stop - start, dtype=operator.dtype, device=operator.device)
        columns[torch.arange(start, stop), torch.arange(stop - start)] = 1.0
        matrix[:, start:stop] = operator.matmat(columns)
        advanced(stop - start)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    components = vectors.T @ gradient.to(vectors)
    rows = (vectors * torch.where(components < 0.0, -1.0, 1.0)).T.contiguous()
    weights = components.square().cpu().numpy()
    quadrature = GradientQuadrature(values.cpu().numpy(), weights, np.zeros(size), size, closed=True, complete=True)
    return GradientSpace(quadrature, rows, None, size)


def _checked_norm(gradient: Tensor) -> float:
    norm = float(gradient.double().norm())
    if not (np.isfinite(norm) and norm > 0.0):
        raise ValueError(f"a gradient of norm {norm} gives no direction to start from")
    return norm
