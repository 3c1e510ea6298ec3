"""Traces and extreme eigenvalues.

`trace` = Σ λ ("sharpness" in the entropy-gap papers), `abs_trace` = Σ abs(λ), `lambda_max` and `lambda_min` (λ_max
is the "sharpness" of the edge-of-stability literature).  An extreme Ritz value is an inner bound: the true λ_max
is not below it, and an eigenvalue lies within its residual.

Where the trace alone was asked for (Hutch++), it is the mean of p independent estimates, each of a test vector that
sees only what a Krylov space leaves, ± t_{p−1, 0.975} · sd / √p.
The products' noise, of root mean square eigenvalue f, moves a trace by √n·f or less.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.functionals import (
    ONLY_TRACE,
    Functional,
    SpectralSums,
    extremes,
    only_trace,
    scale_of,
)
from hessent.measures.replicates import Replicates, Spread, t_quantile
from hessent.measures.spectral_functions import absolute, identity
from hessent.spectra.model import BlockSpectrum

_ROUNDING = 1e-12  # relative; of a few hundred float64 recurrence steps and the eigenvalues of their matrix


def trace(block: BlockSpectrum) -> Estimate:
    """Return Σ λ, in the unit of the loss per squared parameter."""
    spread = trace_spread(block)
    if block.eigenvalues is not None:
        return Estimate.exactly(spread.value)
    return Estimate(spread.value, spread.value - spread.half_width, spread.value + spread.half_width)


def trace_spread(block: BlockSpectrum) -> Spread:
    """Return Σ λ and the parts of its half-width, in the unit of the loss per squared parameter."""
    precision = math.sqrt(block.size) * block.noise_floor
    if block.trace_estimates is not None:
        return replace(_mean(block.trace_estimates), precision=precision)
    if block.eigenvalues is None:
        return trace_replicates(block).spread()
    return replace(SpectralSums(block, [identity]).spread(_first_sum(block)), precision=precision)


def trace_replicates(block: BlockSpectrum) -> Replicates:
    """Return Σ λ of a block that was not formed whole, with and without each probe or test vector."""
    precision = math.sqrt(block.size) * block.noise_floor
    if block.trace_estimates is not None:
        each, none = block.trace_estimates, np.zeros(0)
        rest = (each.sum() - each) / (len(each) - 1) if len(each) > 1 else none
        return Replicates(float(each.mean()), rest, none, none, precision)
    # Every Gauss rule integrates λ exactly: rules of other lengths differ by how many weights are exact, not by
    # truncation.
    found = SpectralSums(block, [identity]).replicates(_first_sum(block), truncated=False)
    return replace(found, precision=precision)


def _first_sum(block: BlockSpectrum) -> Functional:
    """The first spectral sum, in the unit of the eigenvalues instead of the block's scale."""
    scale = scale_of(block)
    return lambda sums: float(sums[0]) * scale


def _mean(estimates: NDArray[np.float64]) -> Spread:
    """Mean of independent estimates, shape (p,), and its half-width; a trace has no truncation."""
    count = len(estimates)
    value = float(estimates.mean())
    if count < 2:
        return Spread(value, math.inf, 0.0)
    return Spread(value, t_quantile(count) * float(estimates.std(ddof=1)) / math.sqrt(count), 0.0)


def abs_trace(block: BlockSpectrum) -> Estimate:
    """Return Σ abs(λ), in the unit of the loss per squared parameter."""
    if only_trace(block):
        return Estimate.unknown(ONLY_TRACE)
    return SpectralSums(block, [absolute]).estimate(_first_sum(block), floor=0.0)


def abs_trace_spread(block: BlockSpectrum) -> Spread:
    """Return Σ abs(λ) and the parts of its half-width, in the unit of the loss per squared parameter."""
    return SpectralSums(block, [absolute]).spread(_first_sum(block))


def abs_trace_replicates(block: BlockSpectrum) -> Replicates:
    """Return Σ abs(λ) of a sampled block, with and without each probe."""
    return SpectralSums(block, [absolute]).replicates(_first_sum(block))


def lambda_max(block: BlockSpectrum) -> Estimate:
    """Return the largest eigenvalue; sampled: from the largest Ritz value up to its residual above."""
    if only_trace(block):
        return Estimate.unknown(ONLY_TRACE)
    value, residual = extremes(block)[0]
    if block.eigenvalues is not None:
        return Estimate.exactly(value)
    slack = extreme_slack(block)
    return Estimate(value, value - slack, value + residual + slack)


def lambda_min(block: BlockSpectrum) -> Estimate:
    """Return the smallest eigenvalue; sampled: from the smallest Ritz value down to its residual below.

    That of a positive semidefinite matrix is not below zero.
    """
    if only_trace(block):
        return Estimate.unknown(ONLY_TRACE)
    value, residual = extremes(block)[1]
    if block.eigenvalues is not None:
        return Estimate.exactly(value)
    slack = extreme_slack(block)
    if block.semidefinite:
        return Estimate(max(value, 0.0), max(value - residual - slack, 0.0), max(value + slack, 0.0))
    return Estimate(value, value - residual - slack, value + slack)


def extreme_slack(block: BlockSpectrum) -> float:
    """What noise and rounding may move an extreme Ritz value by; zero for a zero matrix."""
    largest = max(abs(value) for value, _ in extremes(block))
    return max(block.noise, _ROUNDING) * largest + (block.noise_floor if largest > 0.0 else 0.0)


def negative_mass(block: BlockSpectrum) -> float:
    """Return the share of the absolute trace that lies on negative eigenvalues: an estimate, 0…1.

    Not a number where only the trace was estimated.
    """
    if only_trace(block):
        return math.nan

    def share(sums: object) -> float:
        positive, total = float(sums[0]), float(sums[1])  # type: ignore[index]
        return 0.5 * (total - positive) / total if total > 0.0 else 0.0

    return min(max(SpectralSums(block, [identity, absolute]).spread(share).value, 0.0), 1.0)
