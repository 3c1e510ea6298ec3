"""What is kept of a tensor's updates over many mini-batches: sums over its coordinates, by groups of mini-batches.

With U_b the update of mini-batch b (n coordinates), S_g = Σ_{b in g} U_b, and k statistics within each group:

    gram       ⟨S_g, S_h⟩
    squares    Σ_{b in g} |U_b|²
    third      Σ_i y_i h₃_i, h₃_i the unbiased third central moment of coordinate i within the group, y_i the sign
               of its sum over the groups BEFORE: that of the group itself goes with h₃ where tails are heavy
    fourth     Σ_i h₄_i, the unbiased fourth central moment
    counts     coordinates and mini-batches by sign and size |U|, 16 bins to a factor of 2
    rounding   Σ_i of the variance that rounding alone gives a coordinate, as far as it is known

All of them add up over tensors, and all but the last leave a group out by leaving out its entries, so nothing of
the size of mini-batches × parameters is ever held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

PER_OCTAVE = 16
LOWEST, HIGHEST = -80, 16  # binary exponents of |U|; what lies outside is counted in the outermost bins
NUM_BINS = PER_OCTAVE * (HIGHEST - LOWEST)


@dataclass(frozen=True, eq=False)
class UpdateSums:
    """The sums of one tensor, or of several together; see the module's docstring.

    Attributes
    ----------
    name : str
    size : int
        Coordinates n.
    batches : Int64Array
        Mini-batches of each group. Shape (g,).
    gram : Float64Array
        Shape (g, g).
    squares, third, fourth : Float64Array
        Shape (g,); `third` of the first group is NaN: there is none before it.
    counts : Int64Array
        Negative, then positive updates by size. Shape (g, 2, NUM_BINS).
    zeros : Int64Array
        Updates that are exactly zero. Shape (g,).
    rounding : float
    """

    name: str
    size: int
    batches: Int64Array
    gram: Float64Array
    squares: Float64Array
    third: Float64Array
    fourth: Float64Array
    counts: Int64Array
    zeros: Int64Array
    rounding: float = 0.0

    def without(self, group: int) -> UpdateSums:
        """Return the sums without one group."""
        rest = np.arange(len(self.batches)) != group
        return UpdateSums(
            self.name,
            self.size,
            self.batches[rest],
            self.gram[np.ix_(rest, rest)],
            self.squares[rest],
            self.third[rest],
            self.fourth[rest],
            self.counts[rest],
            self.zeros[rest],
            self.rounding,
        )


def joined(name: str, parts: Sequence[UpdateSums]) -> UpdateSums:
    """Return the sums of several tensors, over the same mini-batches, as of one."""
    return UpdateSums(
        name,
        sum(part.size for part in parts),
        parts[0].batches,
        np.sum([part.gram for part in parts], axis=0),
        np.sum([part.squares for part in parts], axis=0),
        np.sum([part.third for part in parts], axis=0),
        np.sum([part.fourth for part in parts], axis=0),
        np.sum([part.counts for part in parts], axis=0),
        np.sum([part.zeros for part in parts], axis=0),
        sum(part.rounding for part in parts),
    )


def bin_edges() -> Float64Array:
    """Return the sizes |U| at which bins begin and end, ascending. Shape (NUM_BINS + 1,)."""
    exponents = np.arange(NUM_BINS + 1) / PER_OCTAVE + LOWEST
    edges: Float64Array = np.exp2(exponents)
    return edges
