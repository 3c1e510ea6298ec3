"""Solvers against a known spectrum: its diagonal itself, or the few thousand numbers that stand for a large one.

For Gaussian start vectors a diagonal matrix is as good as any with the same eigenvalues.  Where an eigenvalue has m
copies, all that ever matters of p start vectors in its eigenspace are their inner products, that is the triangular
factor R of an m × p Gaussian matrix.  Its entries are independent: R_jj² is χ² with m − j degrees of freedom
(j = 0 … p − 1), those above the diagonal are Gaussian (Bartlett's decomposition).  So min(m, p) coordinates stand
for the whole eigenspace, exactly, and a matrix of 10⁸ rows is solved in minutes.  Sign vectors would show nothing
here: on a diagonal matrix their trace has no variance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from benchmarks.spectra_generator import KnownSpectrum
from torch import Tensor

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.requests import answer
from hessent.eigensolver.sampling import Sampling
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


class ReducedSampling(Sampling):
    """A sampled block whose start vectors are drawn in the reduced coordinates of a spectrum with many copies."""

    def stand_for(self, spectrum: KnownSpectrum, generator: np.random.Generator) -> None:
        """Take start vectors of `spectrum` from now on."""
        self._copies, self._generator = spectrum.copies, generator
        self._rows: dict[tuple[str, int], Tensor] = {}

    def _vectors(self, purpose: str, count: int, first: int = 0) -> Tensor:
        return torch.stack([self._row(purpose, index) for index in range(first, first + count)])

    def _row(self, purpose: str, index: int) -> Tensor:
        key = purpose, index
        if key not in self._rows:
            self._rows[key] = torch.as_tensor(reduced_start(self._copies, len(self._rows), self._generator))
        return self._rows[key]


class ReducedSolver(BlockSolver):
    """Solves the whole matrix of a spectrum on its reduced diagonal; `size` is that of the whole matrix."""

    def __init__(self, spectrum: KnownSpectrum, settings: SolverSettings, **options: Any) -> None:
        self._spectrum = spectrum
        super().__init__("block", ("weight",), spectrum.size, settings, **options)

    def _new_sampling(self) -> Sampling:
        sampling = super()._new_sampling()
        sampling.__class__ = ReducedSampling
        assert isinstance(sampling, ReducedSampling)
        sampling.stand_for(self._spectrum, np.random.default_rng(self._settings.seed))
        return sampling


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
    options: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    if spectrum.listed:
        operator = DiagonalOperator(spectrum.values)
        solver = BlockSolver("block", ("weight",), spectrum.size, SolverSettings(**settings), **options)
    else:
        settings.setdefault("basis_memory", _VECTORS_KEPT * 8 * spectrum.size)
        kept = np.minimum(spectrum.copies, START_VECTORS)
        operator = DiagonalOperator(np.repeat(spectrum.values, kept))
        solver = ReducedSolver(spectrum, SolverSettings(**settings), **options)
    answer(solver.first_look(), operator)
    answer(solver.finish(), operator)
    assert solver.spectrum is not None
    assert solver.spectrum.num_matvecs == operator.num_matvecs
    return solver.spectrum
