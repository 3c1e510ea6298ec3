"""Matrices with chosen eigenvalues, and what is known of them without any code under test."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.curvature.operator import SymmetricOperator

Float64Array = NDArray[np.float64]


class DenseOperator(SymmetricOperator):
    """Q diag(λ) Qᵀ with a random orthogonal Q: nothing about it is special but its eigenvalues."""

    def __init__(self, eigenvalues: Float64Array, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        n = len(eigenvalues)
        generator = torch.Generator().manual_seed(seed)
        q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
        self.eigenvectors = q
        self.eigenvalues = np.sort(np.asarray(eigenvalues, dtype=np.float64))
        self.matrix = ((q * torch.as_tensor(self.eigenvalues)) @ q.T).to(dtype)
        self.size, self.dtype, self.device, self.name, self.num_matvecs = n, dtype, torch.device("cpu"), "dense", 0

    def _multiply(self, V: torch.Tensor) -> torch.Tensor:
        return (self.matrix @ V.to(self.dtype)).to(V.dtype)


def true_gap(eigenvalues: Float64Array, alpha: float = 1.0) -> float:
    """log n − H_α by the definition, term by term."""
    p = np.abs(eigenvalues) / np.abs(eigenvalues).sum()
    p = p[p > 0]
    if alpha == 1.0:
        entropy = -float((p * np.log(p)).sum())
    elif math.isinf(alpha):
        entropy = -math.log(p.max())
    else:
        entropy = math.log(float((p**alpha).sum())) / (1 - alpha)
    return math.log(len(eigenvalues)) - entropy


def network_like(n: int, *, seed: int = 0) -> Float64Array:
    """Outliers, a bulk over six decades, a tenth of it negative, and exact zeros: the shape of a trained net's."""
    rng = np.random.default_rng(seed)
    bulk = 10.0 ** rng.uniform(-6, 0, n)
    bulk[rng.random(n) < 0.1] *= -0.3
    bulk[rng.random(n) < 0.1] = 0.0
    bulk[:12] = np.geomspace(200, 5, 12)
    return np.sort(bulk)


def tolerance(dtype: torch.dtype) -> float:
    """Relative error that rounding alone may cause in a product."""
    return 1e-4 if dtype == torch.float32 else 1e-10
