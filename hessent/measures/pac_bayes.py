"""A PAC-Bayes bound from the spectrum of the Hessian: what needs numbers alone.

Prior P = N(0, s²I), posterior Q = N(θ, (H⁺ + I/s²)^-1), with H the Hessian of the SUMMED negative log-likelihood
(N times that of the mean loss) and H⁺ its positive part: negative eigenvalues are clamped to zero.  For Gaussians
2 KL(Q‖P) = tr(Σ_Q)/s² − n + ‖θ‖²/s² + ln det(s²I) − ln det Σ_Q, and the eigenvalues of Σ_Q are s²/(1 + s²λ), so

    KL = ½ [ ‖θ‖²/s² + Σ ( ln(1 + s²λ) − s²λ/(1 + s²λ) ) ],

exact for an exact block, else an estimate with the interval of any smooth functional of the spectrum.

The bound (McAllester 1999, in the form of Maurer 2004): for a loss in [0, 1], N ≥ 8 independent samples and a prior
that does not look at them, with probability 1 − δ, for all Q at once,

    E_Q L ≤ E_Q L̂ + √( (KL + ln(2√N/δ)) / (2N) ).

s² is chosen from a grid that is fixed beforehand: a union bound, δ divided by its length.  E_Q L̂ is a mean over
draws of values in [0, 1]: with probability 1 − δ' it is at most the largest p with  k·kl(L̂_k ‖ p) ≤ ln(1/δ')
(Hoeffding 1963, theorem 1; used so by Langford and Caruana 2001, and by Dziugaite and Roy 2017).  It is a bound on
the Gibbs classifier, which draws its weights anew for each answer; it says nothing about the weights θ themselves.

The paper's theorem 2.4, of which our source names the terms ‖θ‖²/σ², σ² + μ and d(ln tr H + (ln d − S)), with S the
entropy of the spectrum, μ ≤ every λ.  From 1 ≤ λ/μ,  1 + σ²λ ≤ (σ² + 1/μ)·λ, so σ² + μ has to be σ² + 1/μ; and from
Chebyshev's sum inequality  Σ ln λ ≤ d(ln tr H − S) ≤ d(ln tr H + (ln d − S)) .  A further term in (ln d − S)² is
named without its form, so it is left out, as is −Σ s²λ/(1 + s²λ) ≤ 0: the corrected bracket stays above the KL.

References
----------
D. McAllester, PAC-Bayesian model averaging, COLT 1999.  A. Maurer, A note on the PAC Bayesian theorem, 2004.
J. Langford and R. Caruana, (Not) bounding the true error, NIPS 2001.  G. K. Dziugaite and D. M. Roy, Computing
nonvacuous generalization bounds for deep (stochastic) neural networks, UAI 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.functionals import SpectralSums, extremes, scale_of
from hessent.measures.spectral_functions import SpectralFunction
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]

GRID = tuple(2.0**power for power in range(-16, 5))  # of s²; fixed, so that no data chooses what is chosen from
LEAST_SAMPLES = 8  # of Maurer's theorem
_DRAWS_SHARE = 0.2  # of δ, for the mean over draws; the rest is the theorem's
NO_FLOOR = "an eigenvalue is not positive: σ² + 1/μ is infinite, and the theorem says nothing"


@dataclass(frozen=True)
class Confidence:
    """How δ is spent on one bound.

    Attributes
    ----------
    delta : float
        Probability that the bound may fail, 0 … 1.
    """

    delta: float

    @property
    def theorem(self) -> float:
        """What one variance of the grid may take of it."""
        return (1.0 - _DRAWS_SHARE) * self.delta / len(GRID)

    @property
    def draws(self) -> float:
        """What the mean over draws may take of it."""
        return _DRAWS_SHARE * self.delta


def kl_divergence(block: BlockSpectrum, norm_squared: float, items: int) -> tuple[Estimate, ...]:
    """Return KL(Q‖P) in nats for every s² of the grid: exact for an exact block, else an estimate.

    Parameters
    ----------
    block : BlockSpectrum
        The whole Hessian of the mean loss, exact or sampled.
    norm_squared : float
        ‖θ‖².
    items : int
        N, by which the mean's Hessian is multiplied.
    """
    factor = items * scale_of(block)
    functions: list[SpectralFunction] = [partial(_spent, factor * s2) for s2 in GRID]
    # Logarithms live on small eigenvalues, as entropies of low order do.
    sums = SpectralSums(block, functions, slow=True)

    def one(place: int) -> Estimate:
        least = norm_squared / (2 * GRID[place])  # without any curvature
        return sums.estimate(lambda found: least + float(found[place]) / 2, floor=least)

    return tuple(one(place) for place in range(len(GRID)))


def _spent(factor: float, values: Float64Array) -> Float64Array:
    """What an eigenvalue adds to twice the KL, with t = s²Nλ: ln(1 + t) − t/(1 + t)."""
    t = factor * np.maximum(values, 0.0)
    return np.asarray(np.log1p(t) - t / (1.0 + t))


def slack(kl: Estimate, items: int, confidence: Confidence) -> tuple[float, float]:
    """Return √((KL + ln(2√N/δ)) / (2N)) at the KL's value and at the upper end of its interval."""
    cost = math.log(2.0 * math.sqrt(items) / confidence.theorem)
    ends = (kl.value, kl.high)
    value, high = (math.inf if end is None else math.sqrt((end + cost) / (2 * items)) for end in ends)
    return value, high


def mean_interval(mean: float, draws: int, delta: float = 0.05) -> Estimate:
    """Return the mean of a variable in [0, 1] over draws, with an interval that holds with probability 1 − δ."""
    return Estimate(mean, 1.0 - upper_mean(1.0 - mean, draws, delta / 2), upper_mean(mean, draws, delta / 2))


def upper_mean(mean: float, draws: int, delta: float) -> float:
    """Return an upper bound, with probability 1 − δ, of an expectation in [0, 1] from its mean over draws."""
    most = math.log(1.0 / delta) / draws
    low, high = mean, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _relative_entropy(mean, middle) <= most else (low, middle)
    return high


def _relative_entropy(q: float, p: float) -> float:
    """kl(q ‖ p) of two coins, for q ≤ p."""
    found = 0.0
    for own, other in ((q, p), (1.0 - q, 1.0 - p)):
        if own > 0.0:
            found += math.inf if other <= 0.0 else own * math.log(own / other)
    return found


def bound(mean: float, draws: int, kl: Estimate, items: int, confidence: Confidence) -> Estimate:
    """Return the bound on E_Q L of a loss in [0, 1].

    Parameters
    ----------
    mean : float
        Of the empirical loss over draws that took no part in the choice of s².
    draws : int
        How many.
    kl : Estimate
        KL(Q‖P) in nats.
    items : int
        N.
    confidence : Confidence
        How δ is spent.

    Returns
    -------
    Estimate
        Its value is the bound: the KL and the mean over draws at their upper ends.  `low` has both at their values:
        what more products and draws could at best make of it.
    """
    value, high = slack(kl, items, confidence)
    certified = upper_mean(mean, draws, confidence.draws) + high
    return Estimate(certified, mean + value, certified)


def paper_brackets(
    block: BlockSpectrum, norm_squared: float, items: int, sigma2: float
) -> tuple[Estimate, Estimate]:
    """Return the paper's bracket, halved to stand beside the KL: with σ² + 1/μ, and with σ² + μ as printed.

    μ is the smallest eigenvalue of H⁺: zero wherever the Hessian has a negative one, or one that is zero.
    """
    scale, size = items * scale_of(block), block.size
    mu = max(items * extremes(block)[1][0], 0.0)
    sums = SpectralSums(block, [_positive, _positive_log], slow=True)

    def bracket(shift: float) -> Estimate:
        def functional(found: Float64Array) -> float:
            trace = float(found[0])  # in the unit of the scale; S = ln tr − Σ λ ln λ / tr is free of it
            if trace <= 0.0:
                return math.nan
            entropy = math.log(trace) - float(found[1]) / trace
            log_trace = math.log(scale * trace)
            own = size * (math.log(shift) + log_trace + math.log(size) - entropy)
            return (norm_squared / sigma2 + own) / 2

        return sums.estimate(functional)

    if float(scale_of(block)) <= 0.0 or extremes(block)[0][0] <= 0.0:
        nothing = Estimate.unknown("the matrix has no positive eigenvalue")
        return nothing, nothing
    corrected = bracket(sigma2 + 1.0 / mu) if mu > 0.0 else Estimate.unknown(NO_FLOOR)
    return corrected, bracket(sigma2 + mu)


def _positive(values: Float64Array) -> Float64Array:
    return np.maximum(values, 0.0)


def _positive_log(values: Float64Array) -> Float64Array:
    own = np.maximum(values, 0.0)
    return np.asarray(own * np.log(np.where(own > 0.0, own, 1.0)))


def clamped_mass(block: BlockSpectrum) -> Estimate:
    """Return Σ abs(λ) over the negative eigenvalues, which are clamped, as a share of Σ abs(λ)."""

    def share(found: Float64Array) -> float:
        return float(1.0 - found[0] / found[1]) if found[1] > 0.0 else 0.0

    return SpectralSums(block, [_positive, np.abs]).estimate(share, floor=0.0, ceiling=1.0)
