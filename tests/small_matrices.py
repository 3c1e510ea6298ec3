"""Blocks and solvers for small matrices, and a plain dense Lanczos run that shares no code with the package."""

from __future__ import annotations

import numpy as np
import torch

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import answer
from hessent.eigensolver.settings import SolverSettings
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import Outliers, ProbeRuns

# Two-sided 95 % quantiles of Student's t and the upper 99.99 % points of χ², from printed tables.
STUDENT_T = {
    1: 12.7062047,
    2: 4.30265273,
    3: 3.18244631,
    4: 2.77644511,
    5: 2.57058184,
    7: 2.36462425,
    15: 2.13144955,
}
CHI_SQUARE = {1: 15.136705, 2: 18.420681, 4: 23.512742, 16: 45.924899}


class MatrixOperator(SymmetricOperator):
    """A dense symmetric matrix as it stands."""

    def __init__(self, matrix):
        self.matrix = torch.as_tensor(matrix, dtype=torch.float64)
        self.eigenvalues = np.linalg.eigvalsh(self.matrix.numpy())
        self.size, self.dtype, self.device = len(self.matrix), torch.float64, torch.device("cpu")
        self.name, self.num_matvecs = "matrix", 0

    def _multiply(self, V):
        return self.matrix @ V


def exact_block(eigenvalues, *, noise=0.0, name="block"):
    values = np.sort(np.asarray(eigenvalues, dtype=np.float64))
    size = len(values)
    return BlockSpectrum(name, size, ("weight",), "exact", size, True, "exact", noise, eigenvalues=values)


def dense_lanczos(matrix, start, num_steps):
    """Return (alphas (m,), betas (m,), Q (n, j)) of a run orthogonalised twice against everything.

    A one-dimensional `matrix` is a diagonal.  Once the Krylov space is invariant, after j steps, zeros follow.
    """
    q = start / np.linalg.norm(start)
    alphas, betas, columns = np.zeros(num_steps), np.zeros(num_steps), []
    for step in range(num_steps):
        columns.append(q)
        Q = np.column_stack(columns)
        w = matrix * q if matrix.ndim == 1 else matrix @ q
        alphas[step] = q @ w
        for _ in range(2):
            w = w - Q @ (Q.T @ w)
        betas[step] = np.linalg.norm(w)
        if betas[step] <= 1e-13 * max(np.abs(alphas).max(), betas.max()):
            betas[step] = 0.0
            break
        q = w / betas[step]
    return alphas, betas, Q


def tridiagonal(alphas, betas):
    """Return the m × m matrix T; the last of the m betas couples to the outside and is left out."""
    return np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)


def spectral_weights(matrix_eigenvectors, start):
    """Return the masses that the spectral measure of `start` puts on each eigenvector."""
    return (matrix_eigenvectors.T @ (start / np.linalg.norm(start))) ** 2


def sampled_block(eigenvalues, *, probes=4, steps=40, deflated=0, seed=0, noise=0.0):
    """Lanczos runs of Gaussian probes on diag(eigenvalues), the largest in magnitude deflated exactly."""
    rng = np.random.default_rng(seed)
    order = np.argsort(-np.abs(np.asarray(eigenvalues, dtype=np.float64)))
    values = np.asarray(eigenvalues, dtype=np.float64)[order]
    outliers, rest = np.sort(values[:deflated]), values[deflated:]
    runs = [dense_lanczos(rest, rng.standard_normal(len(rest)), steps)[:2] for _ in range(probes)]
    alphas = np.array([run[0] for run in runs])
    betas = np.array([run[1] for run in runs])
    return BlockSpectrum(
        name="block",
        size=len(values),
        parameters=("weight",),
        method="lanczos",
        num_matvecs=deflated + probes * steps,
        converged=False,
        status="sampled",
        noise=noise,
        outliers=Outliers(outliers, np.zeros(deflated)),
        probes=ProbeRuns(alphas, betas[:, :-1], betas[:, -1]),
        lambda_max=(float(values.max()), 0.0),
        lambda_min=(float(values.min()), 0.0),
    )


def solver_for(operator, *, dtype=torch.float64, noise=0.0, spent=0, name="block", group_items=None, **settings):
    settings.setdefault("method", "lanczos")
    return BlockSolver(
        name,
        ("weight",),
        operator.size,
        SolverSettings(**settings),
        dtype=dtype,
        device="cpu",
        noise=noise,
        spent=spent,
        group_items=group_items,
    )


def solve(operator, **options):
    """Return the finished solver; `operator.num_matvecs` counts this solve alone."""
    operator.num_matvecs = 0
    solver = solver_for(operator, **options)
    answer(solver.finish(), operator)
    return solver
