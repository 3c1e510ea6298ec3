"""Spectra whose every measure is known: outliers above a bulk, with negatives and exact zeros.

A spectrum is a list of distinct values with the number of copies of each, so that one of 10⁸ eigenvalues is a few
thousand numbers.  Everything is a rule, not a draw: the bulk holds the quantiles of its distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

LEVELS = 1_000  # distinct values of a bulk that is too large to be listed
LISTED = 1_000_000  # eigenvalues up to which every one is listed


@dataclass(frozen=True, eq=False)
class KnownSpectrum:
    """Eigenvalues with their copies, and the truth of every measure.

    Attributes
    ----------
    name : str
        Name in tables.
    values : Float64Array
        Distinct eigenvalues. Shape (g,).
    copies : NDArray[np.int64]
        How often each occurs. Shape (g,).
    """

    name: str
    values: Float64Array  # (g,)
    copies: NDArray[np.int64]  # (g,)

    @property
    def size(self) -> int:
        """Dimension n of the matrix."""
        return int(self.copies.sum())

    @property
    def listed(self) -> bool:
        """Whether every eigenvalue stands for itself."""
        return len(self.values) == self.size

    def total(self, function: Callable[[Float64Array], Float64Array]) -> float:
        """Return Σ f(λ) over all eigenvalues."""
        return math.fsum(self.copies * function(self.values))

    def share(self, condition: NDArray[np.bool_]) -> float:
        """Return the share of all eigenvalues for which a condition on the distinct ones (g,) holds."""
        return float(self.copies[condition].sum()) / self.size

    def gap(self, alpha: float = 1.0) -> float:
        """Return log n − H_α in nats, by the definition."""
        p = np.abs(self.values) / self.total(np.abs)
        copies, p = self.copies[p > 0], p[p > 0]
        if math.isinf(alpha):
            return math.log(self.size) + math.log(p.max())
        if alpha == 1.0:
            return math.log(self.size) + math.fsum(copies * p * np.log(p))
        return math.log(self.size) - math.log(math.fsum(copies * p**alpha)) / (1 - alpha)

    def truth(self, tau: float) -> dict[str, float]:
        """Return every measure by the name of the package's tables; ratios at the threshold τ."""
        gap = self.gap()
        return {
            "trace": self.total(lambda x: x),
            "abs_trace": self.total(np.abs),
            "lambda_max": float(self.values.max()),
            "lambda_min": float(self.values.min()),
            "positive_ratio": self.share(self.values > tau),
            "negative_ratio": self.share(self.values < -tau),
            "zero_ratio": self.share(np.abs(self.values) <= tau),
            "entropy_gap": gap,
            "effective_rank": self.size / math.exp(gap),
        }


def of_eigenvalues(name: str, eigenvalues: Float64Array) -> KnownSpectrum:
    """Return the spectrum of a matrix whose eigenvalues are at hand."""
    return KnownSpectrum(name, np.sort(eigenvalues), np.ones(len(eigenvalues), dtype=np.int64))


def decades(n: int) -> KnownSpectrum:
    """12 outliers of 200 … 5 and a bulk spread evenly over the eight decades below 1."""
    return _assemble("decades", n, np.geomspace(200.0, 5.0, 12), lambda u: 10.0 ** (-8.0 * u), scale=-0.3)


def power(n: int) -> KnownSpectrum:
    """The power law i^-1.1 and nothing else."""
    head = np.arange(1.0, min(500, n // 2) + 1) ** -1.1
    first = len(head)
    return _assemble(
        "power law", n, head, lambda u: (first + 1 + u * (n - first - 1)) ** -1.1, negative=0.0, zero=0.0
    )


def network(n: int) -> KnownSpectrum:
    """The shape of a trained net's: outliers of both signs over a power-law bulk of eight decades."""
    outliers = np.r_[np.geomspace(60.0, 2.0, 9), np.geomspace(1.9, 0.5, 30), -1.5, -0.8, -0.5]
    rank = max(n / 1000.0, 30.0)  # eigenvalues of the bulk's size: a thousandth, the rest falls to 10⁻⁸ of it
    exponent = 8.0 / math.log10(1.0 + rank)
    return _assemble("network", n, outliers, lambda u: 0.4 * (1.0 + rank * u) ** -exponent, scale=-0.2)


def marchenko_pastur(n: int) -> KnownSpectrum:
    """12 outliers over the Marchenko–Pastur law of aspect 0.9: the bulk of a covariance of few samples."""
    low, high = (1 - math.sqrt(0.9)) ** 2, (1 + math.sqrt(0.9)) ** 2
    angles = np.linspace(0.0, math.pi, 100_001)
    points = low + (high - low) * (1 - np.cos(angles)) / 2
    # dx = (high − low)/2 · sin(angle) d(angle): the edges' square roots do no harm on this grid.
    density = np.sqrt((high - points) * (points - low)) / points * np.sin(angles)
    cumulated = np.r_[0.0, np.cumsum((density[1:] + density[:-1]) / 2)]

    def quantile(u: Float64Array) -> Float64Array:
        return np.interp(u, cumulated / cumulated[-1], points)

    return _assemble("Marchenko–Pastur", n, np.geomspace(200.0, 10.0, 12), quantile, scale=-0.1)


FAMILIES: dict[str, Callable[[int], KnownSpectrum]] = {
    "decades": decades,
    "power": power,
    "network": network,
    "marchenko-pastur": marchenko_pastur,
}


def _assemble(
    name: str,
    n: int,
    outliers: Float64Array,
    quantile: Callable[[Float64Array], Float64Array],
    *,
    negative: float = 0.1,
    zero: float = 0.1,
    scale: float = -1.0,
) -> KnownSpectrum:
    """Put outliers, positive bulk, negative bulk (`scale` times the same quantiles) and zeros together."""
    rest = n - len(outliers)
    zeros, negatives = round(zero * rest), round(negative * rest)
    values, copies = [outliers], [np.ones(len(outliers), dtype=np.int64)]
    for count, factor in ((rest - zeros - negatives, 1.0), (negatives, scale)):
        edges = _edges(count, listed=n <= LISTED)
        values.append(factor * quantile((edges[1:] + edges[:-1]) / (2 * max(count, 1))))
        copies.append(np.diff(edges))
    if zeros:
        values.append(np.zeros(zeros if n <= LISTED else 1))
        copies.append(np.full(len(values[-1]), zeros // len(values[-1])))
    return KnownSpectrum(f"{name}, n = {n:,}", np.concatenate(values), np.concatenate(copies))


def _edges(count: int, *, listed: bool) -> NDArray[np.int64]:
    """Cut `count` ranks into single ones, or into at most `LEVELS` runs of which each is a little longer."""
    if listed or count < LEVELS:
        return np.arange(count + 1)
    return np.unique(np.r_[0, np.geomspace(1, count, LEVELS)].round().astype(np.int64))
