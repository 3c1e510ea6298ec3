"""Signal and noise of an optimizer's update over mini-batches, and what becomes of them under sign and tanh.

The model of a tensor of n coordinates and B mini-batches: U_ib = Y_i μ + noise of variance s², Y_i = ±1; see
`binary_channel`.  The mean M_i over mini-batches carries noise of its own: E[M_i²] = μ² + s²/B, and so |M_i| is
too large on average, the more so the fewer mini-batches there are (at μ/s = 0.1 and B = 64 by a quarter and more).
Without bias are, with S = Σ_b U_b,

    s² = (Σ_b |U_b|² − |S|²/B) / (n (B − 1)),
    μ² = (|S|² − Σ_b |U_b|²) / (n B (B − 1)) = mean of M_i² − s²/B = mean over pairs of different mini-batches of
         ⟨U_b, U_c⟩/n.

μ is thus the root mean square of the true means, which in the model is their absolute mean.  Where μ² comes out
negative, μ is 0 and its interval ends where the signal would have been seen.

Where the model holds no more:

    skewness   Σ y_i h₃_i / (n s³): of the noise along its coordinate's direction; 0
    excess kurtosis   Σ h₄_i / (n s⁴) − 3: of the noise of all coordinates as one; 0. Above, tails are heavy or
               coordinates differ in their noise
    distance   largest difference of P(|U| ≤ x) from that of the two Gaussians; 0. It sees dead coordinates and
               unequal means

`gaussian` is False where the whole interval of one of them lies beyond its limit below, True where all intervals
lie within, and unknown else.

Intervals are those of the choice of mini-batches: Student's t with the jackknife's standard error, leaving out one
group of mini-batches at a time; on μ², s², μ²/s² and μ²/s⁴, and from there by monotone functions.  s², and the
ratios where the signal is seen (the interval of μ² lies above 0), are taken by their logarithms: under heavy tails
their errors are factors.

References
----------
Dwyer (1937), Moments of any rational integral isobaric sample moment function, for h₃ and h₄.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import scipy  # its parts load on first use
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.binary_channel import full_information, sign_error, sign_information
from hessent.measures.jackknife import jackknife
from hessent.measures.update_sums import LOWEST, NUM_BINS, PER_OCTAVE, UpdateSums, bin_edges

Float64Array = NDArray[np.float64]

SKEWNESS_LIMIT = 0.5
KURTOSIS_LIMIT = 0.5
DISTANCE_LIMIT = 0.05
DIFFERENCE = 0.1  # sign and tanh differ by more than this where |tanh| < 0.9

_ROUNDING = 1e-20  # of the mean square: no noise at all
NO_NOISE = "all mini-batches gave the same update"
NO_UPDATE = "no update reaches it"


@dataclass(frozen=True)
class UpdateSignal:
    """The numbers of one tensor.

    Attributes
    ----------
    name : str
    size : int
        Coordinates.
    mu, sigma, snr : Estimate
        μ, s and μ/s.
    sign_error : Estimate
        Φ(−μ/s).
    mi_sign_bits, mi_full_bits : Estimate
        Mutual information of the direction with the sign, and with the update.
    tanh_scale : Estimate
        μ/s², in 1 over the unit of the update.
    differs : Estimate
        Share of coordinates and mini-batches where |sign(U) − tanh(μU/s²)| > 0.1, as counted, not as modelled.
    skewness, excess_kurtosis, distance : Estimate
        See the module's docstring.
    gaussian : bool or None
        Whether the model holds; None where that cannot be told.
    """

    name: str
    size: int
    mu: Estimate
    sigma: Estimate
    snr: Estimate
    sign_error: Estimate
    mi_sign_bits: Estimate
    mi_full_bits: Estimate
    tanh_scale: Estimate
    differs: Estimate
    skewness: Estimate
    excess_kurtosis: Estimate
    distance: Estimate
    gaussian: bool | None


MEASURES = tuple(f.name for f in fields(UpdateSignal) if f.name not in ("name", "size", "gaussian"))


def update_signal(sums: UpdateSums) -> UpdateSignal:
    """Return the numbers of a tensor from its sums; at least two groups of mini-batches."""
    signal, noise = _signal_and_noise(sums)
    if noise <= _ROUNDING * abs(signal):
        reason = NO_UPDATE if signal <= 0.0 and noise <= 0.0 else NO_NOISE
        told = dict.fromkeys(MEASURES, Estimate.unknown(reason))
        told |= {"mu": Estimate.exactly(_root(signal)), "sigma": Estimate.exactly(0.0)}
        return UpdateSignal(sums.name, sums.size, **told, gaussian=None)
    table = np.array([_numbers(part) for part in (sums, *(sums.without(g) for g in range(len(sums.batches))))])
    mu2, s2, snr2, scale2, differs, skewness, kurtosis, distance = (
        _with_error(values, sums.batches) for values in table.T
    )
    s2 = _by_logarithm(table[:, 1], sums.batches) or s2
    if mu2.low is not None and mu2.low > 0.0:
        snr2 = _by_logarithm(table[:, 2], sums.batches) or snr2
        scale2 = _by_logarithm(table[:, 3], sums.batches) or scale2
    snr = _mapped(snr2, _root)
    shape = (skewness, SKEWNESS_LIMIT), (kurtosis, KURTOSIS_LIMIT), (distance, DISTANCE_LIMIT)
    return UpdateSignal(
        sums.name,
        sums.size,
        mu=_mapped(mu2, _root),
        sigma=_mapped(s2, _root),
        snr=snr,
        sign_error=_mapped(snr, sign_error),
        mi_sign_bits=_mapped(snr, sign_information),
        mi_full_bits=_mapped(snr, full_information),
        tanh_scale=_mapped(scale2, _root),
        differs=_within(differs, 0.0, 1.0),
        skewness=skewness,
        excess_kurtosis=kurtosis,
        distance=_within(distance, 0.0, 1.0),
        gaussian=_judged(shape),
    )


def pair_distribution(sizes: Float64Array, mu: float, sigma: float) -> Float64Array:
    """Return P(|U| ≤ x) under ½ N(μ, s²) + ½ N(−μ, s²)."""
    normal = scipy.special.ndtr
    shares: Float64Array = normal((sizes - mu) / sigma) - normal((-sizes - mu) / sigma)
    return shares


def _signal_and_noise(sums: UpdateSums) -> tuple[float, float]:
    """Return μ² and s², without bias."""
    count, squares, total = int(sums.batches.sum()), float(sums.squares.sum()), float(sums.gram.sum())
    signal = (total - squares) / (sums.size * count * (count - 1))
    return signal, max(squares - total / count, 0.0) / (sums.size * (count - 1))


def _numbers(sums: UpdateSums) -> tuple[float, ...]:
    """Return what the jackknife is applied to, in the order in which `update_signal` takes it apart."""
    signal, noise = _signal_and_noise(sums)
    noise = max(noise, np.finfo(np.float64).tiny)
    known = ~np.isnan(sums.third)
    third = float(np.average(sums.third[known], weights=sums.batches[known])) / sums.size
    fourth = float(np.average(sums.fourth, weights=sums.batches)) / sums.size
    return (
        signal,
        noise,
        signal / noise,
        signal / noise**2,
        _differing(sums, _root(signal) / noise),
        third / noise**1.5,
        fourth / noise**2 - 3.0,
        _distance(sums, _root(signal), math.sqrt(noise)),
    )


def _differing(sums: UpdateSums, scale: float) -> float:
    """Return the share of updates with 0 < |U| < artanh(0.9)/scale; within a bin they are spread evenly."""
    total = sums.size * int(sums.batches.sum())
    nonzero = total - int(sums.zeros.sum())
    if scale <= 0.0:
        return nonzero / total
    below = np.concatenate([[0], np.cumsum(sums.counts.sum(axis=(0, 1)))])
    position = (math.log2(math.atanh(1.0 - DIFFERENCE) / scale) - LOWEST) * PER_OCTAVE
    return float(np.interp(position, np.arange(NUM_BINS + 1), below)) / total


def _distance(sums: UpdateSums, mu: float, sigma: float) -> float:
    total = sums.size * int(sums.batches.sum())
    observed = (int(sums.zeros.sum()) + np.cumsum(sums.counts.sum(axis=(0, 1)))) / total
    return float(np.abs(observed - pair_distribution(bin_edges()[1:], mu, sigma)).max())


def _with_error(values: Float64Array, batches: NDArray[np.int64]) -> Estimate:
    half = jackknife(values, batches).half_width
    value = float(values[0])
    return Estimate(value, value - half, value + half)


def _by_logarithm(values: Float64Array, batches: NDArray[np.int64]) -> Estimate | None:
    if not bool((values > 0.0).all()):
        return None
    return _mapped(_with_error(np.log(values), batches), _exponential)


def _exponential(logarithm: float) -> float:
    return math.exp(min(max(logarithm, -700.0), 700.0))


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))


def _mapped(estimate: Estimate, function: Callable[[float], float]) -> Estimate:
    """Return a monotone function of an estimate, with its interval."""
    ends = [None if end is None else function(end) for end in (estimate.low, estimate.value, estimate.high)]
    low, value, high = ends if None in ends or ends[0] <= ends[2] else ends[::-1]  # type: ignore[operator]
    return Estimate(value, low, high)


def _within(estimate: Estimate, least: float, most: float) -> Estimate:
    return _mapped(estimate, lambda value: min(max(value, least), most))


def _judged(checks: tuple[tuple[Estimate, float], ...]) -> bool | None:
    """Whether all numbers stay within their limits: False where one does not, None where it cannot be told."""
    ends = [(e.low, e.high, limit) for e, limit in checks]
    if any(low is not None and high is not None and (low > limit or high < -limit) for low, high, limit in ends):
        return False
    within = all(
        low is not None and high is not None and -limit <= low and high <= limit for low, high, limit in ends
    )
    return True if within else None
