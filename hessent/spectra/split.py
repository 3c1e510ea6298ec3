"""The Hessian beside its Gauss-Newton part, block by block: what products of both with the same vectors gave.

H = G + R, with G = (1/N) Σ_i J_iᵀ (∂²ℓ/∂f²) J_i the generalised Gauss-Newton matrix and R the rest, in which the
second derivatives of the model stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

# What one probe v gives, in the order in which files keep it.
MOMENTS = ("v·Hv", "v·Gv", "v·Rv", "‖Hv‖", "‖Gv‖", "‖Rv‖", "cos(Gv, Rv)")


@dataclass(frozen=True, eq=False)
class BlockSplit:
    """One block of H, of G and of R = H − G.

    Attributes
    ----------
    name : str
        Of the block.
    size : int
        Its parameters n.
    exact : bool
        Whether the matrices were formed whole: the only row is then tr H, tr G, tr R, their Frobenius norms, and
        ⟨G, R⟩ / (‖G‖ ‖R‖), 0 where one of them vanishes.
    noise : float
        Frobenius norm, expected, of what rounding adds to R; in the unit of the eigenvalues.
    moments : Float64Array
        `MOMENTS` of independent standard Gaussian vectors v, one row each. Shape (p, 7).
    """

    name: str
    size: int
    exact: bool
    noise: float
    moments: Float64Array  # (p, 7)

    @property
    def num_probes(self) -> int:
        """Number of vectors p; 1 where the block is exact."""
        return len(self.moments)
