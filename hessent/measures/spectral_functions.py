"""Functions of an eigenvalue that measures are sums of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
SpectralFunction = Callable[[Float64Array], Float64Array]


def under_noise(function: SpectralFunction, floor: float) -> SpectralFunction:
    """The function of λ that one sees through noise of root mean square eigenvalue `floor`."""
    return lambda x: function(np.copysign(np.hypot(x, floor), x))


def absolute(x: Float64Array) -> Float64Array:
    """abs(λ)."""
    return np.abs(x)


def identity(x: Float64Array) -> Float64Array:
    """λ itself."""
    return x


def absolute_log(x: Float64Array) -> Float64Array:
    """abs(λ)·log abs(λ), zero at zero."""
    magnitude = np.abs(x)
    return magnitude * np.log(np.where(magnitude > 0.0, magnitude, 1.0))
