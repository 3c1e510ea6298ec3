"""Quadratics L(θ) = g·θ + ½ θ·Hθ with known H, and steps built from dense matrices term by term."""

from __future__ import annotations

import numpy as np
import torch
from small_matrices import MatrixOperator

from hessent.measures.gradient_quadrature import GradientQuadrature


class Quadratic:
    """H = Q diag(λ) Qᵀ; Q is a random rotation, or the identity."""

    def __init__(self, eigenvalues, *, rotated=True, seed=0, gradient=None):
        rng = np.random.default_rng(seed)
        self.values = np.asarray(eigenvalues, dtype=np.float64)
        self.size = len(self.values)
        self.vectors = (
            np.linalg.qr(rng.standard_normal((self.size, self.size)))[0] if rotated else np.eye(self.size)
        )
        self.matrix = (self.vectors * self.values) @ self.vectors.T
        own = rng.standard_normal(self.size) if gradient is None else self.vectors @ gradient
        self.gradient = own
        self.components = self.vectors.T @ own

    def loss(self, moved):
        return float(self.gradient @ moved + 0.5 * moved @ self.matrix @ moved)

    def decrease(self, step):
        return -self.loss(step)

    def norm(self, step):
        return float(step @ self.matrix @ step)

    @property
    def operator(self):
        return MatrixOperator(self.matrix)

    @property
    def start(self):
        return torch.as_tensor(self.gradient)

    def quadrature(self):
        """What the formed route knows, without it."""
        order = np.argsort(self.values)
        weights = self.components[order] ** 2
        return GradientQuadrature(
            self.values[order], weights, np.zeros(self.size), self.size, closed=True, complete=True
        )

    def step(self, optimizer, damping=0.0, clip=None):
        """The step of size 1 as a vector, each as its definition reads."""
        p, g, q = np.abs(self.values) + damping, self.components, self.vectors
        length = np.sqrt(np.sum(g**2 / p))
        if optimizer == "newton":
            along = g / p
        elif optimizer == "normalized-ngd":
            along = g / p / length if clip is None else min(1.0, clip / length) * g / p
        elif optimizer == "gradient-norm-ngd":
            along = g / np.sqrt(p) if clip is None else np.minimum(1.0, clip * np.sqrt(p)) * g / p
        elif optimizer == "eigenbasis-ngd":
            signs = np.sign(g) / np.sqrt(p)
            along = signs if clip is None else np.minimum(1.0, clip * np.sqrt(p) / np.abs(g)) * g / p
        elif optimizer == "gd":
            along = g
        elif optimizer == "normalized-gd":
            along = g / np.linalg.norm(g) / np.sqrt(self.values.max())
        return -(q @ along)


POSITIVE = np.geomspace(0.01, 30.0, 14)
INDEFINITE = np.concatenate([np.geomspace(0.02, 30.0, 10), [-0.01, -0.4, -5.0, 0.0]])
NAMES = ("newton", "normalized-ngd", "gradient-norm-ngd", "eigenbasis-ngd", "gd", "normalized-gd")
CLIPPED = ("normalized-ngd", "gradient-norm-ngd", "eigenbasis-ngd")
