"""How different the spectra of blocks are: a bounded distance between any two.

Each spectrum becomes a profile: the share of its eigenvalues that are near zero, and the shares in bins of sign and
order of magnitude, two bins a decade, in the unit of the eigenvalues.  The shares sum to one.  Between two profiles
p and q with middle m, in bits,

    distance = √( ½ Σ p log₂(p/m) + ½ Σ q log₂(q/m) ),

the square root of their Jensen–Shannon divergence: a metric between 0 (the same profile) and 1 (no bin in common).

An eigenvalue between the centres of two bins counts for both in proportion to how near they are in its logarithm,
and near τ in part as zero, so that a profile moves smoothly with the matrix.  τ is the threshold of the ratios,
each block's own: below it Gauss rules see a mass but not where it lies.

Profiles of random probes are noisy, and the distance of an operator to itself with other probes is not zero.  Its
root mean square follows from the profiles without each probe (jackknife):

    floor² = (p − 1)/p · Σ_i divergence(profile without probe i, profile),  summed over both spectra.

Below it two blocks cannot be told apart.  An exact block adds nothing to it.

References
----------
D. M. Endres and J. E. Schindelin, "A new metric for probability distributions", IEEE Transactions on Information
Theory 49, 2003.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hessent.measures.functionals import only_trace
from hessent.measures.quadrature import exact_rules
from hessent.measures.ratios import tau
from hessent.measures.weighted_spectrum import WeightedSpectrum
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]

_PER_DECADE = 2  # bins
_DECADES = 60  # on both sides of one; what lies beyond counts in the last bin
_BINS = 2 * _DECADES * _PER_DECADE + 1  # of either sign
_ZERO = 2 * _BINS  # index of the bin of zeros, after those of negative and of positive eigenvalues
_BLUR = 0.5  # decades on both sides of τ, over which an eigenvalue ceases to count as zero


@dataclass(frozen=True, eq=False)
class Profile:
    """Shares of a spectrum's eigenvalues in bins of sign and magnitude.

    Attributes
    ----------
    shares : Float64Array
        They sum to one. Shape (bins,).
    left_out : Float64Array
        The same without each probe; no row for a spectrum that is known exactly. Shape (p, bins).
    """

    shares: Float64Array  # (bins,)
    left_out: Float64Array  # (p, bins)

    @property
    def noise(self) -> float:
        """Mean divergence, in bits, to what would be found on average over other probes; infinite for one probe."""
        count = len(self.left_out)
        if count == 1:
            return np.inf
        return sum((count - 1) / count * divergence(rest, self.shares) for rest in self.left_out)


@dataclass(frozen=True, eq=False)
class Heterogeneity:
    """Distances between the spectra of blocks.

    Attributes
    ----------
    names : tuple of str
        Blocks that could be compared, in the order given.
    distances : Float64Array
        0 … 1, symmetric with zeros on the diagonal. Shape (b, b).
    floors : Float64Array
        What the distance would be by the choice of the probes alone, were the two operators the same; zero between
        exact blocks. Shape (b, b).
    """

    names: tuple[str, ...]
    distances: Float64Array  # (b, b)
    floors: Float64Array  # (b, b)


def heterogeneity(blocks: Sequence[BlockSpectrum], tau_rel: float | None = None) -> Heterogeneity:
    """Return the distances between the spectra of all blocks; those of which only the trace is known are left out.

    Parameters
    ----------
    blocks : sequence of BlockSpectrum
        Exact or sampled, of any sizes.
    tau_rel : float, optional
        Threshold below which eigenvalues count as zero, relative to max abs(λ) of each block.
    """
    known = [block for block in blocks if not only_trace(block)]
    profiles = [profile(block, tau_rel) for block in known]
    noise = np.array([own.noise for own in profiles])
    distances = np.zeros((len(known), len(known)))
    for i, own in enumerate(profiles):
        for j in range(i):
            distances[i, j] = distances[j, i] = distance(own, profiles[j])
    floors = np.minimum(np.sqrt(noise[:, None] + noise), 1.0)
    return Heterogeneity(tuple(block.name for block in known), distances, floors)


def distance(own: Profile, other: Profile) -> float:
    """Return the distance of two profiles, 0 … 1."""
    return float(np.sqrt(divergence(own.shares, other.shares)))


def divergence(p: Float64Array, q: Float64Array) -> float:
    """Return the Jensen–Shannon divergence of two vectors of shares in bits, 0 … 1."""
    middle = (p + q) / 2
    bits = 0.0
    for shares in (p, q):
        there = shares > 0.0
        bits += 0.5 * float((shares[there] * np.log2(shares[there] / middle[there])).sum())
    return min(max(bits, 0.0), 1.0)


def profile(block: BlockSpectrum, tau_rel: float | None = None) -> Profile:
    """Return the profile of a block's spectrum.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled.
    tau_rel : float, optional
        Threshold below which eigenvalues count as zero, relative to max abs(λ).

    Raises
    ------
    ValueError
        If only the trace of the block was asked for.
    """
    if only_trace(block):
        raise ValueError(f"of block '{block.name}' only the trace is known")
    spectrum, threshold = _weighted(block), tau(block, tau_rel)
    fixed = _binned(spectrum.single, np.ones(len(spectrum.single)), threshold)
    if not spectrum.dimension:
        return Profile(fixed / fixed.sum(), np.zeros((0, len(fixed))))
    each = np.array(
        [
            _binned(nodes, spectrum.dimension * weights, threshold)
            for nodes, weights in zip(spectrum.nodes, spectrum.weights, strict=True)
        ]
    )
    count, total = len(each), each.sum(axis=0)
    rest = (total - each) / max(count - 1, 1)
    return Profile((fixed + total / count) / block.size, (fixed + rest) / block.size)


def _weighted(block: BlockSpectrum) -> WeightedSpectrum:
    """What a block knows of its eigenvalues, as plain numbers."""
    if block.eigenvalues is not None:
        return WeightedSpectrum.of(block.eigenvalues)
    assert block.probes is not None
    single = block.outliers.values if block.outliers is not None else np.zeros(0)
    dimension = block.size - len(single)
    rules = exact_rules(block.probes, block.probes.num_steps, dimension)
    nodes, weights = np.zeros((2, len(rules), max(len(rule.nodes) for rule in rules)))
    for row, rule in enumerate(rules):  # those that closed early are shorter
        nodes[row, : len(rule.nodes)], weights[row, : len(rule.nodes)] = rule.nodes, rule.weights
    return WeightedSpectrum(single, nodes, weights, dimension)


def _binned(values: Float64Array, weights: Float64Array, threshold: float) -> Float64Array:
    """Sum the weights of eigenvalues by bin. Shape (bins,)."""
    found = np.zeros(_ZERO + 1)
    there = values != 0.0
    magnitudes = np.log10(np.abs(values[there]))
    zero = np.ones(len(values))
    if threshold > 0.0:
        zero[there] = np.clip((np.log10(threshold) + _BLUR - magnitudes) / (2 * _BLUR), 0.0, 1.0)
    found[_ZERO] = float((weights * zero).sum())
    place = np.clip((magnitudes + _DECADES) * _PER_DECADE, 0.0, _BINS - 1.0)
    below = np.minimum(place.astype(np.int64), _BINS - 2)
    offset = np.where(values[there] > 0.0, _BINS, 0)
    beyond = (weights * (1.0 - zero))[there]
    np.add.at(found, offset + below, beyond * (1.0 - (place - below)))
    np.add.at(found, offset + below + 1, beyond * (place - below))
    return found
