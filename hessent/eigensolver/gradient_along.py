"""Where the gradient points among the eigenvectors of a block: squares of its components, without a product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hessent.spectra.gradients import BlockGradient, GradientAlong

Float64Array = NDArray[np.float64]
GradientVector = Callable[[], Tensor]


def along_eigenvectors(
    matrix: Float64Array, gradient: BlockGradient, vector: Tensor
) -> tuple[Float64Array, BlockGradient]:
    """Return all eigenvalues of a formed block, ascending, and its gradient with the shares along the eigenvectors.

    Parameters
    ----------
    matrix : Float64Array
        Symmetric, shape (n, n).
    gradient : BlockGradient
        Without them.
    vector : Tensor
        The gradient itself, shape (n,).
    """
    values, vectors = np.linalg.eigh(matrix)
    entries = vector.double().cpu().numpy()
    return values, replace(gradient, along=GradientAlong(_shares(entries @ vectors, entries @ entries)))


def along_ritz_vectors(
    gradient: BlockGradient | None,
    vector: GradientVector | None,
    components: Callable[[Tensor], Tensor],
    values: Float64Array,
    residuals: Float64Array,
) -> BlockGradient | None:
    """Return the gradient of a block with its shares along orthonormal Ritz vectors.

    Parameters
    ----------
    gradient : BlockGradient or None
        Without them; as it is where it is all that is known.
    vector : callable or None
        Returns the gradient itself, shape (n,).
    components : callable
        Returns the inner products of a vector (n,) with the Ritz vectors, shape (m,).
    values, residuals : Float64Array
        Of the Ritz pairs, in any one order. Shape (m,).
    """
    if gradient is None or vector is None:
        return gradient
    entries, order = vector(), np.argsort(values, kind="stable")
    found: Float64Array = components(entries).double().cpu().numpy()
    shares = _shares(found, float(entries.double().square().sum()))
    return replace(gradient, along=GradientAlong(shares[order], values[order], residuals[order]))


def _shares(components: Float64Array, square: float) -> Float64Array:
    return components**2 / square if square > 0.0 else np.zeros_like(components)
