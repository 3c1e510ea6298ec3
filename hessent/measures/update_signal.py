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

Where fewer samples are at hand than the training has, s² and μ² become those of the training's mini-batches by the
exact factors of `finite_draw`; the shape is that of the updates as drawn, which `differs` stretches to the mean
square they have in training.

Numbers are unknown where they are no more than rounding: s² below 1e-14 of the mean square, which the difference
above loses in float64; s below four times what is known of the updates' own rounding; and what divides by s², where
that holds of all mini-batches but those of one group.

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
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.binary_channel import full_information, sign_error, sign_information
from hessent.measures.finite_draw import AS_DRAWN, FiniteDraw
from hessent.measures.jackknife import jackknife
from hessent.measures.update_counts import differing, distance
from hessent.measures.update_sums import UpdateSums

Float64Array = NDArray[np.float64]

SKEWNESS_LIMIT = 0.5
KURTOSIS_LIMIT = 0.5
DISTANCE_LIMIT = 0.05

_CANCELLED = 1e-14  # of the mean square: what is left of s² is the rounding of its two terms
_LEAST = 1e-150  # a variance whose square still is a number
_SEEN = 4.0  # times the rounding of the updates: s is noise of mini-batches
NO_NOISE = "all mini-batches gave the same update, up to rounding"
NO_UPDATE = "no update reaches it"
ROUNDING_ONLY = "its update is no more than rounding"
ONE_GROUP = "all its noise came with one part of the mini-batches"


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


def update_signal(sums: UpdateSums, draw: FiniteDraw = AS_DRAWN) -> UpdateSignal:
    """Return the numbers of a tensor from its sums; at least two groups of mini-batches."""
    parts = [sums, *(sums.without(group) for group in range(len(sums.batches)))]
    if not _has_noise(sums):
        return _without_noise(sums)
    mu2, s2 = (_with_error(values, sums.batches) for values in np.array([_corrected(p, draw) for p in parts]).T)
    if not all(map(_has_noise, parts)):
        known = {"mu": _mapped(mu2, _root), "sigma": _mapped(s2, _root)}
        return _unknown(sums, ONE_GROUP, **known)
    table = np.array([_numbers(part, draw) for part in parts])
    s2 = _by_logarithm(table[:, 0], sums.batches) or s2
    snr2, scale2, differs, skewness, kurtosis, apart = (_with_error(v, sums.batches) for v in table.T[1:])
    if mu2.low is not None and mu2.low > 0.0:
        snr2 = _by_logarithm(table[:, 1], sums.batches) or snr2
        scale2 = _by_logarithm(table[:, 2], sums.batches) or scale2
    snr = _mapped(snr2, _root)
    shape = (skewness, SKEWNESS_LIMIT), (kurtosis, KURTOSIS_LIMIT), (apart, DISTANCE_LIMIT)
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
        distance=_within(apart, 0.0, 1.0),
        gaussian=_judged(shape),
    )


def _unknown(sums: UpdateSums, reason: str, **known: Estimate) -> UpdateSignal:
    told = dict.fromkeys(MEASURES, Estimate.unknown(reason)) | known
    return UpdateSignal(sums.name, sums.size, **told, gaussian=None)


def _without_noise(sums: UpdateSums) -> UpdateSignal:
    signal, noise = _signal_and_noise(sums)
    if signal <= 0.0 and noise <= 0.0:
        return _unknown(sums, NO_UPDATE, mu=Estimate.exactly(0.0), sigma=Estimate.exactly(0.0))
    if signal <= _rounding(sums):
        return _unknown(sums, ROUNDING_ONLY)
    return _unknown(sums, NO_NOISE, mu=Estimate.exactly(_root(signal)))


def _has_noise(sums: UpdateSums) -> bool:
    signal, noise = _signal_and_noise(sums)
    return noise > max(_rounding(sums), _CANCELLED * (abs(signal) + noise))


def _rounding(sums: UpdateSums) -> float:
    """Return the variance up to which nothing but rounding is seen."""
    return _LEAST + _SEEN**2 * sums.rounding / sums.size


def _signal_and_noise(sums: UpdateSums) -> tuple[float, float]:
    """Return μ² and s² of the mini-batches as drawn, without bias."""
    count, squares, total = int(sums.batches.sum()), float(sums.squares.sum()), float(sums.gram.sum())
    signal = (total - squares) / (sums.size * count * (count - 1))
    return signal, max(squares - total / count, 0.0) / (sums.size * (count - 1))


def _corrected(sums: UpdateSums, draw: FiniteDraw) -> tuple[float, float]:
    """Return μ² and s² of the training's mini-batches."""
    signal, noise = _signal_and_noise(sums)
    return signal - draw.chance * noise, draw.noise * noise


def _numbers(sums: UpdateSums, draw: FiniteDraw) -> tuple[float, ...]:
    """Return what else the jackknife is applied to, in the order in which `update_signal` takes it apart."""
    (drawn_signal, drawn_noise), (signal, noise) = _signal_and_noise(sums), _corrected(sums, draw)
    stretch = (_root(signal) ** 2 + noise) / (_root(drawn_signal) ** 2 + drawn_noise)
    known = ~np.isnan(sums.third)
    third = float(np.average(sums.third[known], weights=sums.batches[known])) / sums.size
    fourth = float(np.average(sums.fourth, weights=sums.batches)) / sums.size
    return (
        noise,
        signal / noise,
        signal / noise**2,
        differing(sums, _root(signal) / noise * math.sqrt(stretch)),
        third / drawn_noise**1.5,
        fourth / drawn_noise**2 - 3.0,
        distance(sums, _root(drawn_signal), math.sqrt(drawn_noise)),
    )


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
