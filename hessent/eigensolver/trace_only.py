"""The trace alone, by XTrace: an order of magnitude fewer products than any quadrature needs.

With p test vectors ω_i, uniform on the sphere of radius √n, and Q an orthonormal basis of all H ω_j, the estimate

    t_i = tr(Q_iᵀ H Q_i) + (n − p + 1) · (μ_iᵀ H μ_i) / (μ_iᵀ μ_i),   μ_i = (I − Q_i Q_iᵀ) ω_i,

uses each ω_i to see what the basis Q_i of all the others leaves.  Q_i Q_iᵀ = Q (I − s_i s_iᵀ) Qᵀ, with s_i the
normalised i-th column of R⁻ᵀ in H Ω = Q R, so every t_i follows from Ω, Q and Qᵀ H Q: 2 p products in all.  The t_i
are exchangeable; their mean is the estimate and their scatter its error.

More vectors can be added later: Q and R are extended, nothing is computed twice.

References
----------
E. N. Epperly, J. A. Tropp and R. J. Webber, "XTrace: making the most of every sample in stochastic trace
estimation", SIAM J. Matrix Anal. Appl. 45, 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import stdtrit
from torch import Tensor

from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import Products
from hessent.eigensolver.settings import FIRST_TRACE_VECTORS

Float64Array = NDArray[np.float64]

_MOST_VECTORS = 200
_GROWTH = 2  # vectors added at a time, relative to those there
_COLUMNS_AT_ONCE = 16


@dataclass(frozen=True)
class TraceResult:
    """What an XTrace run ended with.

    Attributes
    ----------
    estimates : Float64Array
        t_1 … t_p, in the unit of the eigenvalues. Shape (p,).
    num_matvecs : int
        Products spent.
    converged : bool
        Whether the tolerance was met.
    status : str
        Why it stopped, as a clause.
    """

    estimates: Float64Array
    num_matvecs: int
    converged: bool
    status: str


def half_width(estimates: Float64Array) -> float:
    """Return the half-width of the 95 % interval of the mean of exchangeable estimates (p,); infinite for p < 2."""
    count = len(estimates)
    if count < 2:
        return math.inf
    return float(stdtrit(count - 1, 0.975) * estimates.std(ddof=1) / math.sqrt(count))


def estimate_trace(
    size: int,
    *,
    seed: int,
    key: str,
    rtol: float,
    budget: int | None,
    room: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Products[TraceResult]:
    """Estimate the trace to a relative tolerance, or with a budget of products.

    Parameters
    ----------
    size : int
        Dimension n.
    seed, key : int, str
        Seed of the run and name of the vectors.
    rtol : float
        Target 95 % half-width relative to the estimate; 0 spends the budget.
    budget : int or None
        Products that may be spent.
    room : int
        Vectors that fit in memory; two are kept per test vector.
    dtype : torch.dtype
        Precision of the products and of stored vectors.
    device : torch.device
        Where vectors live.

    Yields
    ------
    Tensor
        Columns, shape (n, k).

    Returns
    -------
    TraceResult
    """
    most = min(_MOST_VECTORS if budget is None else budget // 2, room // 2, size)
    state = _Basis(size, dtype, device)
    wanted = min(FIRST_TRACE_VECTORS if rtol > 0 else most, most)
    while True:
        first = state.count
        while state.count < wanted:
            count = min(wanted - state.count, max(first, _COLUMNS_AT_ONCE))
            vectors = gaussian_vectors(size, count, seed=seed, key=key, first=state.count, device=device)
            vectors *= math.sqrt(size) / vectors.norm(dim=1, keepdim=True)
            yield from state.extend(vectors)
        estimates = state.estimates()
        if rtol > 0 and half_width(estimates) <= rtol * abs(estimates.mean()):
            return TraceResult(estimates, state.num_matvecs, True, "tolerance met")
        if state.count >= most:
            status = "budget spent" if budget is not None and most == budget // 2 else "caps reached"
            return TraceResult(estimates, state.num_matvecs, False, status)
        wanted = min(_GROWTH * state.count, most)


class _Basis:
    """Test vectors Ω, an orthonormal basis Q of H Ω with its R, and Qᵀ H Q; rows are vectors."""

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self._size = size
        self._tests = torch.empty(0, size, dtype=dtype, device=device)
        self._rows = torch.empty(0, size, dtype=dtype, device=device)
        self._triangle = np.zeros((0, 0))
        self._projected = np.zeros((0, 0))
        self._scale = 0.0
        self.num_matvecs = 0

    @property
    def count(self) -> int:
        """Test vectors so far."""
        return len(self._tests)

    def extend(self, tests: Tensor) -> Products[None]:
        """Add test vectors (c, n): 2 c products."""
        dtype = self._rows.dtype
        images = (yield tests.to(dtype).double().T).total.T.double()
        old = self._rows.double()
        beside = images @ old.T
        left = images - beside @ old
        correction = left @ old.T  # twice is enough
        left = left - correction @ old
        q, r = torch.linalg.qr(left.T)
        rows = q.T.to(dtype)
        before, added = self.count, len(tests)
        triangle = np.zeros((before + added, before + added))
        triangle[:before, :before] = self._triangle
        triangle[:before, before:] = (beside + correction).T.cpu().numpy()
        triangle[before:, before:] = r.cpu().numpy()
        products = (yield rows.double().T).total.T.double()
        every = torch.cat([self._rows, rows])
        columns = (every.double() @ products.T).cpu().numpy()
        projected = np.zeros_like(triangle)
        projected[:before, :before] = self._projected
        projected[:, before:] = columns
        projected[before:, :before] = columns[:before].T
        projected[before:, before:] = (columns[before:] + columns[before:].T) / 2
        self._tests = torch.cat([self._tests, tests.to(dtype)])
        self._rows, self._triangle, self._projected = every, triangle, projected
        self.num_matvecs += 2 * added

    def estimates(self) -> Float64Array:
        """Return t_1 … t_p, shape (p,)."""
        count, trace = self.count, float(np.trace(self._projected))
        diagonal = np.abs(np.diag(self._triangle))
        if count >= self._size or diagonal.min() <= 8 * torch.finfo(self._rows.dtype).eps * diagonal.max():
            return np.full(count, trace)  # Q spans the range of H: nothing is left to estimate
        inner = (self._rows.double() @ self._tests.double().T).cpu().numpy()  # Qᵀ Ω
        directions = solve_triangular(self._triangle, np.eye(count), trans="T")
        directions /= np.linalg.norm(directions, axis=0)
        left = inner - directions * (directions * inner).sum(axis=0)  # Q_iᵀ ω_i in the basis Q
        # ωᵀHω − 2 (QQᵀω)ᵀHω + (QQᵀω)ᵀH(QQᵀω), with H Ω = Q R
        quadratic = (inner * self._triangle).sum(axis=0)
        quadratic -= 2 * (left * self._triangle).sum(axis=0)
        quadratic += (left * (self._projected @ left)).sum(axis=0)
        squares = (self._tests.double() ** 2).sum(dim=1).cpu().numpy() - (left**2).sum(axis=0)
        within = trace - (directions * (self._projected @ directions)).sum(axis=0)
        found: Float64Array = within + (self._size - count + 1) * quadratic / squares
        return found
