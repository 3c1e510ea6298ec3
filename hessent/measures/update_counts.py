"""What is read from the counted sizes of updates: how many of them differ under sign and tanh, and how they lie."""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts load on first use
from numpy.typing import NDArray

from hessent.measures.update_sums import LOWEST, NUM_BINS, PER_OCTAVE, UpdateSums, bin_edges

Float64Array = NDArray[np.float64]

DIFFERENCE = 0.1  # sign and tanh differ by more than this where |tanh| < 0.9


def pair_distribution(sizes: Float64Array, mu: float, sigma: float) -> Float64Array:
    """Return P(|U| ≤ x) under ½ N(μ, s²) + ½ N(−μ, s²)."""
    normal = scipy.special.ndtr
    shares: Float64Array = normal((sizes - mu) / sigma) - normal((-sizes - mu) / sigma)
    return shares


def differing(sums: UpdateSums, scale: float) -> float:
    """Return the share of updates with 0 < |U| < artanh(0.9)/scale; within a bin they are spread evenly."""
    total = sums.size * int(sums.batches.sum())
    nonzero = total - int(sums.zeros.sum())
    if scale <= 0.0:
        return nonzero / total
    below = np.concatenate([[0], np.cumsum(sums.counts.sum(axis=(0, 1)))])
    position = (math.log2(math.atanh(1.0 - DIFFERENCE) / scale) - LOWEST) * PER_OCTAVE
    return float(np.interp(position, np.arange(NUM_BINS + 1), below)) / total


def distance(sums: UpdateSums, mu: float, sigma: float) -> float:
    """Return the largest difference of P(|U| ≤ x) from that of the two Gaussians."""
    total = sums.size * int(sums.batches.sum())
    observed = (int(sums.zeros.sum()) + np.cumsum(sums.counts.sum(axis=(0, 1)))) / total
    return float(np.abs(observed - pair_distribution(bin_edges()[1:], mu, sigma)).max())
