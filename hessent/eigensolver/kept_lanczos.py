"""One Lanczos run whose vectors are all kept, each orthogonalised against all earlier ones.

From q_1 = the start, normalised:  w = H q_j − α_j q_j − β_{j−1} q_{j−1},  α_j = q_j·H q_j,  β_j = ‖w‖,
q_{j+1} = w/β_j.  Then B H Bᵀ = T for the rows q of B, with α on the diagonal of T and β beside it.

Without the orthogonalisation, copies of converged eigenvalues would take most of the steps.  A second pass follows
where the first left less than half of the vector, so that rounding would show.  Inner products and recurrences are
float64, stored vectors too where memory allows.  A run is closed where β is rounding against the largest
coefficient: its space is invariant.

Reference: B. N. Parlett, *The Symmetric Eigenvalue Problem*, 1998, section 6.9 (one more pass is enough).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.operator import SymmetricOperator
from hessent.errors import UsageError

Float64Array = NDArray[np.float64]

LEAST_STEPS = 10  # for which memory has to be there
_WORK_VECTORS = 6  # float64, beside the basis: the start, the product and what is subtracted from it
_CLOSED = 1e-12  # of the largest coefficient; 8 units in the last place where products are coarser


@dataclass(frozen=True)
class KeptRun:
    """m steps of a run.

    Attributes
    ----------
    alphas, betas : Float64Array
        Coefficients; the last β leads out of the space. Shape (m,).
    rows : Tensor
        Orthonormal, shape (m, n), float64 or float32.
    closed : bool
        Whether the space is invariant.
    """

    alphas: Float64Array  # (m,)
    betas: Float64Array  # (m,)
    rows: Tensor  # (m, n)
    closed: bool

    def ritz(self, length: int) -> tuple[Float64Array, Float64Array]:
        """Return Ritz values and eigenvectors of T by so many steps, first components turned to be ≥ 0."""
        beside = self.betas[: length - 1]
        matrix = np.diag(self.alphas[:length]) + np.diag(beside, 1) + np.diag(beside, -1)
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors * np.where(vectors[0] < 0.0, -1.0, 1.0)


def kept_lanczos(
    operator: SymmetricOperator,
    start: Tensor,
    *,
    steps: int,
    memory: int,
    advanced: Callable[[int], None] = lambda count: None,
) -> KeptRun:
    """Take up to `steps` steps from `start` (n,), which is not zero.

    Parameters
    ----------
    operator : SymmetricOperator
        H.
    start : Tensor
        Shape (n,).
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
    """
    size = operator.size
    steps, dtype = _affordable(size, min(steps, size), memory)
    epsilon = max(_CLOSED, 8 * torch.finfo(operator.dtype).eps)
    rows = torch.empty(steps, size, dtype=dtype, device=operator.device)
    rows[0] = start.to(rows.device, torch.float64) / start.double().norm()
    alphas: list[float] = []
    betas: list[float] = []
    closed = False
    for step in range(steps):
        product = operator.matvec(rows[step].to(operator.dtype)).double()
        alphas.append(float(rows[step].double() @ product))
        product = product - alphas[-1] * rows[step]  # another tensor: the operator may have handed back its input
        if step > 0:
            product -= betas[-1] * rows[step - 1]
        beta = _orthogonalised(product, rows[: step + 1])
        scale = max(np.abs(alphas).max(), max(betas, default=0.0))
        closed = beta <= epsilon * scale or step + 1 == size
        betas.append(beta)
        advanced(1)
        if closed:
            break
        if step + 1 < steps:
            rows[step + 1] = product / beta
    count = len(alphas)
    return KeptRun(np.array(alphas), np.array(betas), rows[:count], closed)


def _orthogonalised(vector: Tensor, rows: Tensor) -> float:
    """Take the components along the rows (j, n) out of `vector`, in place; return what its norm is then."""
    before = float(vector.norm())
    for _ in range(2):
        inner = (rows @ vector.to(rows.dtype)).double()
        vector -= (rows.T @ inner.to(rows.dtype)).double()
        after = float(vector.norm())
        if after >= 0.5 * before:
            break
        before = after
    return after


def _affordable(size: int, steps: int, memory: int) -> tuple[int, torch.dtype]:
    """Steps that memory takes, and in which precision their vectors are kept."""
    room = memory - _WORK_VECTORS * 8 * size
    if 8 * size * steps <= room:
        return steps, torch.float64
    most = max(room, 0) // (4 * size)
    least = min(steps, LEAST_STEPS)
    if most < least:
        needed = 8 * size * _WORK_VECTORS + 4 * size * least
        raise UsageError(
            f"the vectors of {least} Lanczos steps take {needed / 2**20:,.0f} MiB",
            where="--memory",
            expected=f"at most {memory / 2**20:,.0f} MiB, the part of it that is for vectors",
            fix="a larger --memory",
        )
    return min(steps, most), torch.float32
