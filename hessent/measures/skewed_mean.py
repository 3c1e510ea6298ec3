"""The mean of few draws whose distribution has a long tail: squares, and quadratic forms of noise.

For positive draws the interval is that of the logarithm of their mean, m · exp(± t·s/(m√K)): it is longer upwards,
as the tail is.  A few draws rarely hold the tail, so t is taken with K/3 degrees of freedom.  Measured over 20,000
repetitions, draws of χ² with one degree of freedom, of χ² with three, and of sums with weights i^-1.5: coverage
0.97–0.99 for K = 8, 0.95–0.97 for 16 and 32 (with K − 1 degrees and a symmetric interval 0.85–0.91, 0.88–0.92 and
0.91–0.94); of log-normal draws with σ = 1 it is 0.93–0.96.  Draws of both signs get a symmetric interval.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts load on first use
from numpy.typing import NDArray

from hessent.estimate import Estimate

LEAST_DRAWS = 4


def skewed_mean(draws: NDArray[np.float64]) -> Estimate:
    """Return the mean of independent draws with its 95 % interval.

    Parameters
    ----------
    draws : NDArray[np.float64]
        Shape (K,).  With fewer than four the interval is open.

    Returns
    -------
    Estimate
    """
    count, mean = len(draws), float(draws.mean())
    if count < LEAST_DRAWS:
        return Estimate(mean, None, None)
    error = float(draws.std(ddof=1)) / math.sqrt(count)
    half = float(scipy.special.stdtrit(count / 3.0, 0.975)) * error
    if draws.min() > 0.0:
        factor = math.exp(half / mean)
        return Estimate(mean, mean / factor, mean * factor)
    return Estimate(mean, mean - half, mean + half)
