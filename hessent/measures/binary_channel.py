"""What the sign of an update tells of its true direction, and what the update itself tells.

The model of one coordinate: a direction Y = ±1, either as likely, is seen through Gaussian noise as
X | Y ~ N(Yμ, s²).  Everything below depends on ρ = μ/s alone.

    P(Y = 1 | X = x) = 1 / (1 + exp(−2μx/s²)),    E[Y | X = x] = tanh(μx/s²).

So sign(X) is the best guess of Y, wrong with probability Φ(−ρ), and tanh with the scale μ/s² is the mean of Y that
is left of X.  With q(t) = 1 − h₂((1 + t)/2) bits, where h₂ is the binary entropy,

    by the sign    I(Y; sign X) = q(1 − 2Φ(−ρ)) = q(erf(ρ/√2)),
    by X itself    I(Y; X) = E[q(tanh(ρZ))],   Z ~ N(ρ, 1),

the capacity of the symmetric channel and that of the Gaussian channel with two inputs.  As ρ → 0 they are
ρ²/(π ln 2) and ρ²/(2 ln 2): the sign then keeps 2/π of the information.

The limits of the scale: μ/s² → ∞ makes tanh the sign, μ/s² → 0 makes it the LINEAR update (μ/s²)·x.  A summary of
the source paper that is going round has them the wrong way ("if μ ≈ 0, sign and tanh converge").

References
----------
Tan, Huang (2025), on the entropy gap and on Lion as a compressor of update directions.
Cover, Thomas (2006), Elements of information theory, chapter 7.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts load on first use
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_LARGEST = 40.0  # beyond, every number is at its limit in float64
_REACH = 10.0  # of a standard normal variable: 1e-23 of it lies further out
_SMALL = 1e-3  # below, the series of q is exact and its formula loses digits
_STEP = 0.05  # of the trapezoid rule; see `full_information`


def sign_error(snr: float) -> float:
    """Return the probability Φ(−ρ) that the sign is wrong."""
    return float(scipy.special.ndtr(-snr))


def sign_information(snr: float) -> float:
    """Return I(Y; sign X) in bits."""
    return float(_bits(np.array([math.erf(snr / math.sqrt(2.0))]))[0])


def full_information(snr: float) -> float:
    """Return I(Y; X) in bits.

    The integrand is analytic up to |Im z| = π/(2ρ), so the trapezoid rule over the real line converges like
    exp(−2π · π/(2ρ) / step): with the step 0.05 / max(ρ, 1) its error is below rounding.
    """
    rho = min(snr, _LARGEST)
    step = _STEP / max(rho, 1.0)
    points = np.arange(rho - _REACH, rho + _REACH, step)
    weights = np.exp(-((points - rho) ** 2) / 2.0)
    return float((weights * _bits(np.tanh(rho * points))).sum() / weights.sum())


def _bits(tendency: Float64Array) -> Float64Array:
    """Return q(t) = 1 − h₂((1 + t)/2): what is known of a sign whose mean is t."""
    t = np.minimum(np.abs(tendency), 1.0)
    small = t**2 / 2.0 + t**4 / 12.0 + t**6 / 30.0
    inner = np.where(t < 1.0, t, 0.0)
    formula = ((1.0 + inner) * np.log1p(inner) + (1.0 - inner) * np.log1p(-inner)) / 2.0
    nats = np.where(t < 1.0, np.where(t < _SMALL, small, formula), math.log(2.0))
    bits: Float64Array = nats / math.log(2.0)
    return bits
