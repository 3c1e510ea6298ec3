"""The gradient of a block, reduced to the numbers its entropy is made of; the gradient itself is not kept.

Of a gradient g with n entries, p_i = |g_i| / Σ|g_j|: its entropy is H = −Σ p log p in nats, the same functional as
that of the eigenvalues of a curvature matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

# What a gradient is reduced to, in the order in which files keep it.
REDUCED = ("Σ|g|", "Σg²", "H")


@dataclass(frozen=True, eq=False)
class GradientAlong:
    """Where a gradient points among orthonormal eigenvectors or Ritz vectors of its block.

    Attributes
    ----------
    shares : Float64Array
        (g·y)² / ‖g‖² of every vector y, in the order of the eigenvalues. Shape (m,).
    values, residuals : Float64Array or None
        Ritz values, ascending, and norms ‖H y − θ y‖. Shape (m,). None where the vectors are all eigenvectors of an
        exact block.
    """

    shares: Float64Array  # (m,)
    values: Float64Array | None = None  # (m,)
    residuals: Float64Array | None = None  # (m,)


@dataclass(frozen=True, eq=False)
class BlockGradient:
    """The gradient of the mean loss by the parameters of a block, with less of the data, and of mini-batches.

    Attributes
    ----------
    total : Float64Array
        `REDUCED` of the gradient over all items. Shape (3,).
    rounding : float
        Σ|error| / Σ|g| that rounding is expected to leave in it.
    batches : Float64Array
        `REDUCED` of the gradients of b ≥ 0 disjoint mini-batches, one row each. Shape (b, 3).
    batch_size : int
        Samples of each mini-batch.
    left_out : Float64Array or None
        `REDUCED` of the gradient without each group of the data. Shape (g, 3). None where the data is not divided.
    items : NDArray[np.int64] or None
        Items of each group. Shape (g,).
    sampled_fraction : float
        Items divided by the size of the finite population they were drawn from; 0 for an unlimited one.
    along : GradientAlong or None
        Where it points; None where no eigenvectors were at hand.
    """

    total: Float64Array  # (3,)
    rounding: float
    batches: Float64Array  # (b, 3)
    batch_size: int
    left_out: Float64Array | None = None  # (g, 3)
    items: NDArray[np.int64] | None = None  # (g,)
    sampled_fraction: float = 0.0
    along: GradientAlong | None = None
