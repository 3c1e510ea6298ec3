"""Solvers against a known spectrum: its diagonal itself, or the few thousand numbers that stand for a large one.

For Gaussian start vectors a diagonal matrix is as good as any with the same eigenvalues.  Where an eigenvalue has m
copies, all that ever matters of p start vectors in its eigenspace are their inner products, that is the triangular
factor R of an m × p Gaussian matrix.  Its entries are independent: R_jj² is χ² with m − j degrees of freedom
(j = 0 … p − 1), those above the diagonal are Gaussian (Bartlett's decomposition).  So min(m, p) coordinates stand
for the whole eigenspace, exactly, and a matrix of 10⁸ rows is solved in minutes.  Sign vectors would show nothing
here: on a diagonal matrix their trace has no variance.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from benchmarks.spectra_generator import KnownSpectrum
from torch import Tensor

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import answer
from hessent.eigensolver.settings import SolverSettings
from hessent.spectra.model import BlockSpectrum

START_VECTORS = 48  # of one solve on a reduced diagonal: outlier search, fresh directions and probes
_VECTORS_KEPT = 200  # of a reduced diagonal; a listed one takes what memory the solver allows itself


class DiagonalOperator(SymmetricOperator):
    """The matrix diag(λ)."""

    def __init__(self, diagonal: np.ndarray, *, dtype: torch.dtype = torch.float64) -> None:
        self.diagonal = torch.as_tensor(diagonal, dtype=dtype)
        self.size, self.dtype, self.device = len(diagonal), dtype, torch.device("cpu")
        self.name, self.num_matvecs = "diagonal", 0

    def _multiply(self, V: Tensor) -> Tensor:
        return (self.diagonal[:, None] * V.to(self.dtype)).to(V.dtype)


@contextlib.contextmanager
def reduced_starts(spectrum: KnownSpectrum, seed: int) -> Iterator[None]:
    """Let every solver draw its start vectors in the reduced coordinates of a spectrum with many copies."""
    generator = np.random.default_rng(seed)
    rows: dict[str, Tensor] = {}

    def draw(size: int, count: int, *, key: str, first: int = 0, **_: Any) -> Tensor:
        if size != spectrum.size:
            raise ValueError(f"start vectors of {size} entries were asked for, the spectrum has {spectrum.size}")
        keys = [f"{key}/{index}" for index in range(first, first + count)]
        for name in keys:
            if name not in rows:
                rows[name] = torch.as_tensor(reduced_start(spectrum.copies, len(rows), generator))
        return torch.stack([rows[name] for name in keys])

    solvers = [module for name, module in sys.modules.items() if name.startswith("hessent.eigensolver.")]
    with contextlib.ExitStack() as patches:
        for module in solvers:
            if hasattr(module, "gaussian_vectors"):
                patches.enter_context(mock.patch.object(module, "gaussian_vectors", draw))
        yield


def reduced_start(copies: np.ndarray, drawn: int, generator: np.random.Generator) -> np.ndarray:
    """Return the next standard Gaussian vector, in reduced coordinates, after `drawn` others.

    Parameters
    ----------
    copies : np.ndarray
        Copies of each eigenvalue, shape (g,).
    drawn : int
        Vectors drawn before, fewer than `START_VECTORS`.
    generator : np.random.Generator
        The source of all of them.

    Returns
    -------
    np.ndarray
        Shape (Σ min(copies, START_VECTORS),), eigenvalue by eigenvalue.
    """
    if drawn >= START_VECTORS:
        raise ValueError(f"a reduced spectrum stands for {START_VECTORS} start vectors, no more")
    kept = np.minimum(copies, START_VECTORS)
    place = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)  # of a coordinate in its eigenspace
    whole = np.repeat(copies <= START_VECTORS, kept)  # eigenspaces that are there in full: plain Gaussians
    vector = np.where(whole | (place < drawn), generator.standard_normal(len(place)), 0.0)
    beyond = ~whole & (place == drawn)
    vector[beyond] = np.sqrt(generator.chisquare((np.repeat(copies, kept) - drawn)[beyond]))
    return vector


def solve(spectrum: KnownSpectrum, **settings: Any) -> BlockSpectrum:
    """Return what a sampled solve of the spectrum's matrix ends with."""
    settings.setdefault("method", "lanczos")
    settings.setdefault("rtol", 0.0)
    if spectrum.listed:
        return _solve(spectrum, spectrum.values, settings)
    settings.setdefault("basis_memory", _VECTORS_KEPT * 8 * spectrum.size)
    with reduced_starts(spectrum, settings.get("seed", 0)):
        return _solve(spectrum, np.repeat(spectrum.values, np.minimum(spectrum.copies, START_VECTORS)), settings)


def _solve(spectrum: KnownSpectrum, diagonal: np.ndarray, settings: dict[str, Any]) -> BlockSpectrum:
    operator = DiagonalOperator(diagonal)
    chosen = SolverSettings(**settings)
    solver = BlockSolver("block", ("weight",), spectrum.size, chosen, dtype=operator.dtype, device="cpu")
    answer(solver.first_look(), operator)
    answer(solver.finish(), operator)
    assert solver.spectrum is not None
    assert solver.spectrum.num_matvecs == operator.num_matvecs
    return solver.spectrum
