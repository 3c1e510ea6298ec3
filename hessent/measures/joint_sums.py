"""Spectral sums by the joint Krylov space of a block's probes, with the pairs deflated in any degree.

With Ritz values θ_j, components c_ij of the unit probes i along the Ritz vectors, and shares 0 ≤ h_j ≤ 1 by which
the pairs count as known (0 for all that were not deflated), the sum of f over all n eigenvalues by probe i is

    S_i = Σ_j h_j f(θ_j) + (n − Σ h) · Σ_j (1 − h_j) c_ij² f(θ_j) / Σ_j (1 − h_j) c_ij².

With h = 1 for all deflated pairs it is what the recurrences in their complement give.  Fewer or lesser shares
give pairs back to the probes.

**What two probes tell of the error.**  The matrix G = (1 − h) f is sampled as g·Gg with isotropic g: variance 2
‖G‖² (Frobenius, G without its mean).  The forms g_i·G g_k of two different probes are zero on average, with
variance ‖G‖².  So beside the p − 1 degrees of freedom of their own scatter, p probes have p (p − 1) / 2 pairs.
These count half: a product of two Gaussians has long tails where few eigenvalues make up G.  From five probes
that makes 9 degrees of freedom instead of 4, a t quantile of 2.26 instead of 2.78, and widths that change less
from seed to seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hessent.measures.functionals import Functional
from hessent.measures.replicates import t_quantile
from hessent.measures.spectral_functions import SpectralFunction
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.probe_space import ProbeSpace

Float64Array = NDArray[np.float64]

_STEP = 1e-6  # of a sum, relative to the largest, by which derivatives are taken
_NOTHING_LEFT = 1e-9  # of a probe's mass: what the deflated pairs leave of it may be rounding


@dataclass(frozen=True)
class Sampled:
    """A number by each probe, linearised, and what pairs of probes tell of its error.

    Attributes
    ----------
    value : float
        By all probes.
    each : Float64Array
        By each. Shape (p,).
    crossed : Float64Array
        The same form of two different probes, zero on average. Shape (p (p − 1) / 2,).
    """

    value: float
    each: Float64Array
    crossed: Float64Array

    def minus(self, other: Sampled) -> Sampled:
        """Return the difference to a number of the same probes."""
        return Sampled(self.value - other.value, self.each - other.each, self.crossed - other.crossed)

    @property
    def half_width(self) -> float:
        """Of the 95 % interval that the choice of the probes leaves; infinite for a single probe."""
        count, pairs = len(self.each), len(self.crossed)
        if count < 2 or not (np.isfinite(self.each).all() and np.isfinite(self.crossed).all()):
            return math.inf
        scatter = float(((self.each - self.each.mean()) ** 2).sum())
        variance = (scatter + 2.0 * float((self.crossed**2).sum())) / (count - 1 + pairs)
        freedom = count - 1 + pairs // 2
        return t_quantile(freedom + 1) * math.sqrt(variance / count)


@dataclass(frozen=True)
class Terms:
    """A measure as a function of spectral sums over the Ritz values.

    Attributes
    ----------
    functional : callable
        The measure by its r sums.
    known : Float64Array
        The functions at the Ritz values, for pairs that are known. Shape (r, M).
    left : Float64Array
        The same for what is left to the probes. Shape (r, M).
    """

    functional: Functional
    known: Float64Array
    left: Float64Array

    @classmethod
    def of(cls, functional: Functional, functions: Sequence[SpectralFunction], values: Float64Array) -> Terms:
        """Return those of functions at Ritz values that are already in the unit the functions are made for."""
        found = np.array([function(values) for function in functions])
        return cls(functional, found, found)


class JointSums:
    """The joint space of one block, ready for any smooth functional.

    Parameters
    ----------
    block : BlockSpectrum
        Sampled.
    space : ProbeSpace
        Of its probes.

    Attributes
    ----------
    values : Float64Array
        Ritz values in the unit of the eigenvalues. Shape (M,).
    deflated : NDArray[np.bool_]
        Which of them are eigenvalues that were deflated. Shape (M,).
    """

    def __init__(self, block: BlockSpectrum, space: ProbeSpace) -> None:
        known = np.zeros(0) if block.outliers is None else block.outliers.values
        self._size = block.size
        self._components = space.components
        self.values = space.values
        self.deflated: NDArray[np.bool_] = np.isin(space.values, known)

    @classmethod
    def of(cls, block: BlockSpectrum) -> JointSums | None:
        """Return the joint space of a block; None where there is none, or it is not that of its outliers."""
        if block.space is None or block.probes is None:
            return None
        found = cls(block, block.space)
        count = 0 if block.outliers is None else len(block.outliers.values)
        return found if int(found.deflated.sum()) == count else None

    def smallest_of(self, count: int) -> float:
        """Return the smallest abs(θ) of the `count` largest deflated pairs."""
        sizes = np.sort(np.abs(self.values[self.deflated]))[::-1]
        return float(sizes[count - 1])

    def sampled(self, terms: Terms, shares: Float64Array) -> Sampled | None:
        """Evaluate a measure with the pairs known by their shares (M,); None where too little is left to probes."""
        left = 1.0 - shares
        dimension = self._size - float(shares.sum())
        components = self._components
        masses = components**2 @ left
        if dimension <= 0.0 or masses.min() <= _NOTHING_LEFT:
            return None
        inner = (components * left) @ components.T
        norms = np.sqrt(np.outer(masses, masses))
        upper = np.triu_indices(len(components), 1)
        sums, crossed = [], []
        for known, function in zip(terms.known, terms.left, strict=True):
            forms = (components * (left * function)) @ components.T
            means = np.diag(forms) / masses
            sums.append(float((shares * known).sum()) + dimension * means)
            crossed.append((dimension * (forms - means.mean() * inner) / norms)[upper])
        mean = np.array([own.mean() for own in sums])
        slopes = _slopes(terms.functional, mean)
        return Sampled(terms.functional(mean), slopes @ np.array(sums), slopes @ np.array(crossed))


def _slopes(functional: Callable[[Float64Array], float], sums: Float64Array) -> Float64Array:
    """Derivatives of a functional by its sums. Shape (r,)."""
    step = _STEP * float(np.abs(sums).max())
    if step == 0.0:
        return np.full(len(sums), math.nan)
    steps = step * np.eye(len(sums))
    return np.array([(functional(sums + own) - functional(sums - own)) / (2 * step) for own in steps])
