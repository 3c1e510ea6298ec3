"""A spectrum as plain numbers: eigenvalues known one by one, and one quadrature rule per probe for the rest.

No interval and no truncation: the value of a measure and nothing else, for where many neighbouring matrices are
compared and what they share cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hessent.measures.spectral_functions import SpectralFunction

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WeightedSpectrum:
    """What is known of n eigenvalues.

    Attributes
    ----------
    single : Float64Array
        Eigenvalues known one by one. Shape (f,).
    nodes : Float64Array
        Nodes of each probe's rule for the other eigenvalues, ascending. Shape (p, m); (0, 0) where there are none.
    weights : Float64Array
        Weights of the nodes; they sum to one per probe. Shape (p, m).
    dimension : int
        How many eigenvalues the rules stand for.
    """

    single: Float64Array  # (f,)
    nodes: Float64Array  # (p, m)
    weights: Float64Array  # (p, m)
    dimension: int

    @classmethod
    def of(cls, eigenvalues: Float64Array) -> WeightedSpectrum:
        """Return the spectrum of which every eigenvalue is known."""
        return cls(eigenvalues, np.zeros((0, 0)), np.zeros((0, 0)), 0)

    @property
    def largest(self) -> float:
        """Largest eigenvalue known."""
        return float(max(self._present()))

    @property
    def smallest(self) -> float:
        """Smallest eigenvalue known."""
        return float(min(self._present()))

    @property
    def scale(self) -> float:
        """Largest abs(λ) known; zero for a zero matrix."""
        return max(abs(self.largest), abs(self.smallest))

    def sums(self, functions: Sequence[SpectralFunction]) -> Float64Array:
        """Return Σ f(λ / scale) for each function. Shape (r,)."""
        scale = self.scale if self.scale > 0.0 else 1.0
        single, nodes = self.single / scale, self.nodes / scale
        found = [float(function(single).sum()) for function in functions]
        if self.dimension:
            each = self.dimension / len(nodes)
            found = [
                s + each * float((self.weights * f(nodes)).sum()) for s, f in zip(found, functions, strict=True)
            ]
        return np.array(found)

    def share_beyond(self, threshold: float, *, sign: float) -> float:
        """Return the share of eigenvalues with sign·λ > threshold.

        The mass of a rule below one of its nodes is enclosed by the sums of weights without and with that node
        (Chebyshev–Markov–Stieltjes). Their middle is interpolated between nodes, so that the share moves smoothly
        with the matrix.
        """
        count = float((sign * self.single > threshold).sum())
        if self.dimension:
            count += self.dimension * float(
                np.mean(
                    [
                        _mass_above(sign * nodes[:: int(sign)], weights[:: int(sign)], threshold)
                        for nodes, weights in zip(self.nodes, self.weights, strict=True)
                    ]
                )
            )
        return count / (len(self.single) + self.dimension)

    def _present(self) -> Float64Array:
        """Every value that carries weight: padding after a closed recurrence does not."""
        present: Float64Array = np.concatenate([self.single, self.nodes[self.weights > 0.0]])
        return present


def _mass_above(nodes: Float64Array, weights: Float64Array, threshold: float) -> float:
    """Mass of one rule above the threshold, nodes ascending."""
    below = np.cumsum(weights) - weights / 2
    return 1.0 - float(np.interp(threshold, nodes, below, left=0.0, right=1.0))
