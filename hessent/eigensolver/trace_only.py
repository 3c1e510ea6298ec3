"""The trace alone, by Hutch++ with a Krylov space: several times fewer products than a spectrum needs.

Two thirds of the products build a block Krylov space Q, whose trace tr(Qᵀ H Q) is known exactly.  The others go to
Gaussian test vectors v that see what the space leaves:

    t = tr(Qᵀ H Q) + (n − M) · (v'ᵀ H v') / (v'ᵀ v'),   v' = (I − Q Qᵀ) v,

unbiased, and independent of each other given Q: their mean is the estimate, Student's t its interval.  The test
vectors are multiplied as they are; v'ᵀ H v' follows from vᵀ H v, T and what couples Q to its next block, so a space
that is made larger later serves the old test vectors too and nothing is computed twice.

Beside XTrace at 300 products, on exact Hessians of six small trained nets, the root mean square error was 0.6 to
1.0 times as large, and 95 % intervals held the trace in 95–97 % of runs instead of 82–97 %.

References
----------
R. A. Meyer, C. Musco, C. Musco and D. P. Woodruff, "Hutch++: optimal stochastic trace estimation", SOSA 2021.
T. Chen and E. Hallman, "Krylov-aware stochastic trace estimation", SIAM J. Matrix Anal. Appl. 44, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from hessent.eigensolver.block_lanczos import BlockLanczos
from hessent.eigensolver.overflow import Overflow
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import SavedState, StateReader
from hessent.eigensolver.settings import FIRST_TRACE_VECTORS
from hessent.eigensolver.vector_store import VectorStore

Float64Array = NDArray[np.float64]

_MOST_VECTORS = 200
_GROWTH = 2  # of the test vectors, between two looks at the interval
_WIDTH = 4  # start vectors of the space; one to eight were alike on small trained nets
_COLUMNS_AT_ONCE = 16


@dataclass(frozen=True)
class TraceResult:
    """What a run ended with.

    Attributes
    ----------
    estimates : Float64Array
        t of every test vector, in the unit of the eigenvalues. Shape (p,).
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
    """Return the half-width of the 95 % interval of the mean of independent estimates (p,); infinite for p < 2."""
    count = len(estimates)
    if count < 2:
        return math.inf
    return float(stdtrit(count - 1, 0.975) * estimates.std(ddof=1) / math.sqrt(count))


class TraceSampling:
    """A Krylov space and the test vectors beside it, made larger to a relative tolerance, or with a budget.

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
        Vectors that find room; three are kept per test vector, two of them of the space.
    dtype : torch.dtype
        Precision of the products and of stored vectors.
    device : torch.device
        Where vectors are multiplied.
    memory : int, optional
        Bytes for vectors on the device; None for no limit.
    overflow : Overflow, optional
        What vectors may take beyond.
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        key: str,
        rtol: float,
        budget: int | None,
        room: int,
        dtype: torch.dtype,
        device: torch.device,
        memory: int | None = None,
        overflow: Overflow | None = None,
    ) -> None:
        self._size, self._seed, self._key, self._device = size, seed, key, device
        self._rtol, self._budget = rtol, budget
        self._most = max(min(3 * _MOST_VECTORS if budget is None else budget, room), 1)
        self._width = min(_WIDTH, max(self._most // 4, 1))
        third = None if memory is None else memory // 3
        overflow = overflow or Overflow()
        self._space = BlockLanczos(
            gaussian_vectors(size, self._width, seed=seed, key=f"{key}/space", device=device),
            dtype=dtype,
            group_steps=0,
            memory=None if third is None else 2 * third,
            overflow=overflow.share(2, 3),
        )
        self._tests = VectorStore(size, dtype=dtype, device=device, memory=third, overflow=overflow.share(1, 3))
        self._quadratic = np.zeros(0)  # vᵀ H v of every test vector
        self._squares = np.zeros(0)  # vᵀ v

    @property
    def num_matvecs(self) -> int:
        """Products so far."""
        return self._space.num_matvecs + len(self._tests)

    def run(self) -> Products[TraceResult]:
        """Estimate the trace.

        Yields
        ------
        Tensor
            Columns, shape (n, k).

        Returns
        -------
        TraceResult
        """
        for products in self._looks():
            if products < self.num_matvecs:
                continue  # a restored state went on from that look
            yield from self._extend(products)
            estimates = self._estimates()
            if self._rtol > 0 and half_width(estimates) <= self._rtol * abs(estimates.mean()):
                return TraceResult(estimates, self.num_matvecs, True, "tolerance met")
        status = "budget spent" if self._most == self._budget else "caps reached"
        return TraceResult(estimates, self.num_matvecs, False, status)

    def remaining_matvecs(self) -> int:
        """Products expected until the end of a budget, or until the next look at the interval."""
        wanted = next((products for products in self._looks() if products > self.num_matvecs), self._most)
        return (wanted if self._budget is None else self._most) - self.num_matvecs

    def saved_state(self) -> SavedState | None:
        """Return all there is to go on from; None before the first product.

        The test vectors are drawn again from their seed.
        """
        if self.num_matvecs == 0:
            return None
        tests = {
            "quadratic": self._quadratic,
            "squares": self._squares,
            "tests": np.array(self._tests.blocks, dtype=np.int64),
        }
        return SavedState(tests) | self._space.saved_state().within("space")

    def restore(self, state: StateReader) -> None:
        """Go on from a saved state, in place of a fresh start; ValueError if it does not fit."""
        self._space.restore(state.within("space"))
        blocks = state.counts("tests", 1, _COLUMNS_AT_ONCE)
        if self._space.num_matvecs + sum(blocks) > self._most:
            raise ValueError(f"{self._space.num_matvecs} + {sum(blocks)} products, expected {self._most} at most")
        for count in blocks:
            self._tests.append(self._draw(count))
        self._quadratic = state.array("quadratic", (len(self._tests),))
        self._squares = state.array("squares", (len(self._tests),))

    def _looks(self) -> Iterator[int]:
        """Products after which the interval is looked at, ascending."""
        products = min(3 * FIRST_TRACE_VECTORS, self._most) if self._rtol > 0 else self._most
        while products < self._most:
            yield products
            products = min(_GROWTH * products, self._most)
        yield self._most

    def _draw(self, count: int) -> Tensor:
        """Return the next test vectors, shape (count, n), in storage precision."""
        tests = gaussian_vectors(
            self._size, count, seed=self._seed, key=self._key, first=len(self._tests), device=self._device
        )
        return tests.to(self._tests.dtype)

    def _extend(self, products: int) -> Products[None]:
        """Bring the products spent to `products`, two thirds of them in the space."""
        steps = (2 * products // 3) // self._width - self._space.num_steps
        yield from self._space.extend(max(steps, 0))
        while self.num_matvecs < products:
            tests = self._draw(min(products - self.num_matvecs, _COLUMNS_AT_ONCE))
            vectors = tests.double()
            images = (yield vectors.T).total.T.double()
            self._quadratic = np.append(self._quadratic, (vectors * images).sum(dim=1).cpu().numpy())
            self._squares = np.append(self._squares, (vectors**2).sum(dim=1).cpu().numpy())
            self._tests.append(tests)

    def _estimates(self) -> Float64Array:
        """Return t of every test vector, shape (p,)."""
        space = self._space
        trace, left = float(np.trace(space.matrix)), self._size - len(space.matrix)
        if left <= 0:
            return np.full(max(len(self._tests), 1), trace)
        within = self._along(space.basis)  # Qᵀ v
        beyond = self._tests.coefficients(space.next_block).double().cpu().numpy()
        quadratic = self._quadratic - (within * (space.matrix @ within)).sum(axis=0)
        quadratic -= 2 * ((space.coupling @ within) * beyond).sum(axis=0)
        squares = self._squares - (within**2).sum(axis=0)
        found: Float64Array = trace + left * quadratic / squares
        return found

    def _along(self, basis: VectorStore) -> Float64Array:
        """Components of the test vectors along a basis of j vectors, shape (j, p)."""
        parts = [basis.coefficients(tests).double().cpu().numpy() for tests in self._tests.pieces()]
        return np.concatenate([np.zeros((0, len(basis))), *parts]).T
