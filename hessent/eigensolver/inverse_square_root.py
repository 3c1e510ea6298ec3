"""Gaussian vectors with covariance (N·H⁺ + I/s²)^-1: Lanczos applied to a function of the matrix.

For standard normal z and f(λ) = (N max(λ, 0) + 1/s²)^-½, the vector f(H) z has that covariance.  After m steps of
Lanczos started at z, with basis B and tridiagonal T,

    f(H) z ≈ ‖z‖ B f(T) e_1,

exact once the Krylov space is invariant.  One basis serves every s².  All new vectors are orthogonalised twice
against all earlier ones, in float64: without that, copies of converged eigenvalues take most of the steps.

What is left is estimated by the change since four fifths of the steps, ‖x_m − x_{0.8m}‖ / ‖x_m‖; as B is
orthonormal, that is a difference of coefficients.  The error falls like exp(−2m/√κ) or faster, κ = 1 + s²Nλ_max; on
spectra of networks, whose large eigenvalues are few, much faster.

Reference: N. J. Higham, *Functions of Matrices*, 2008, chapter 13.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.operator import SymmetricOperator

_PART = 0.8  # of the steps, since which the change is told
_CLOSED = 1e-12  # of the largest coefficient


class FormedRoot:
    """A matrix small enough to be formed, ready for draws that are exact up to rounding.

    Parameters
    ----------
    operator : SymmetricOperator
        H of the mean loss: multiplied with all unit vectors.
    items : int
        N.
    """

    def __init__(self, operator: SymmetricOperator, items: int) -> None:
        eye = torch.eye(operator.size, dtype=operator.dtype, device=operator.device)
        matrix = operator.matmat(eye).double()
        self._values, self._vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        self._items = items

    def draws(self, starts: Tensor, s2: float) -> Tensor:
        """Return f(H) z of every start, shape (n, k) float64."""
        roots = (self._items * self._values.clamp_min(0.0) + 1.0 / s2).rsqrt()
        rotated = self._vectors.T @ starts.to(self._vectors)
        found: Tensor = self._vectors @ (roots[:, None] * rotated)
        return found


class PosteriorDraws:
    """Draws from the Gaussian, a few at a time, with any s².

    Parameters
    ----------
    operator : SymmetricOperator
        H of the mean loss.
    starts : Tensor
        Standard normal columns z, shape (n, k).
    items : int
        N.
    """

    def __init__(self, operator: SymmetricOperator, starts: Tensor, items: int) -> None:
        self._operator, self._items = operator, items
        columns = starts.to(operator.device, torch.float64)
        self._lengths = columns.norm(dim=0)  # (k,)
        self._basis = [columns / self._lengths]  # each (n, k)
        self._alphas: list[NDArray[np.float64]] = []  # each (k,)
        self._betas: list[NDArray[np.float64]] = []

    @property
    def num_steps(self) -> int:
        """Steps taken, each of one product for every draw."""
        return len(self._alphas)

    @property
    def closed(self) -> bool:
        """Whether every Krylov space is invariant: the draws are then exact up to rounding."""
        return bool(self._betas) and not self._betas[-1].any()

    def step(self) -> None:
        """Multiply once, and make every basis a vector longer."""
        newest = self._basis[-1]
        product = self._operator.matmat(newest.to(self._operator.dtype)).double()
        self._alphas.append((newest * product).sum(dim=0).cpu().numpy())
        for _ in range(2):
            for vector in self._basis:
                product -= vector * (vector * product).sum(dim=0)
        beta = product.norm(dim=0)
        scale = np.max(np.abs([*self._alphas, *self._betas]), axis=0)
        beta[beta <= torch.as_tensor(_CLOSED * scale, device=beta.device)] = 0.0
        # A closed recurrence goes on with zeros, which weigh nothing.
        self._basis.append(torch.where(beta > 0, product / beta.clamp_min(1e-300), 0.0))
        self._betas.append(beta.cpu().numpy())

    def draws(self, s2: float) -> Tensor:
        """Return f(H) z of every start by the steps so far, shape (n, k) float64."""
        found = torch.zeros_like(self._basis[0])
        weights = torch.as_tensor(self._coefficients(s2, self.num_steps), device=found.device)
        for vector, weight in zip(self._basis, weights, strict=False):
            found += vector * weight
        found *= self._lengths
        return found

    def error(self, s2: float) -> float:
        """Return the largest relative change of a draw since four fifths of the steps; 0 where all is exact."""
        if self.closed:
            return 0.0
        now, before = (self._coefficients(s2, m) for m in (self.num_steps, int(_PART * self.num_steps)))
        change = np.linalg.norm(now - before, axis=0) / np.linalg.norm(now, axis=0)
        return float(change.max())

    def _coefficients(self, s2: float, length: int) -> NDArray[np.float64]:
        """f(T) e_1 after so many steps, filled up with zeros: shape (m, k)."""
        found = np.zeros((self.num_steps, len(self._lengths)))
        for column in range(found.shape[1]):
            alphas = np.array([alpha[column] for alpha in self._alphas[:length]])
            betas = np.array([beta[column] for beta in self._betas[: max(length - 1, 0)]])
            ended = np.flatnonzero(betas == 0.0)
            size = int(ended[0]) + 1 if len(ended) else length
            if size == 0:
                found[0, column] = np.sqrt(s2)
                continue
            matrix = np.diag(alphas[:size])
            matrix += np.diag(betas[: size - 1], 1) + np.diag(betas[: size - 1], -1)
            values, vectors = np.linalg.eigh(matrix)
            roots = 1.0 / np.sqrt(self._items * np.maximum(values, 0.0) + 1.0 / s2)
            found[:size, column] = vectors @ (roots * vectors[0])
        return found
