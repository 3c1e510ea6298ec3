"""A block of K-FAC: all its eigenvalues are products, of which only the factors are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]

METHOD = "kronecker"
APPROXIMATIONS = ("expand", "reduce")
MOST_EIGENVALUES = 1 << 27  # of a block: 1 GiB when they are formed


@dataclass(frozen=True, eq=False)
class FactorPair:
    """Eigenvalues of the two factors of one Kronecker product, ascending and not negative.

    Attributes
    ----------
    inputs : Float64Array
        Of the second moment A of a layer's inputs. Shape (a,).
    outputs : Float64Array
        Of the second moment G of the gradients by its outputs. Shape (o,).
    inputs_left_out, outputs_left_out : Float64Array or None
        The same without each group of the data. Shapes (g, a) and (g, o).
    """

    inputs: Float64Array  # (a,)
    outputs: Float64Array  # (o,)
    inputs_left_out: Float64Array | None = None  # (g, a)
    outputs_left_out: Float64Array | None = None  # (g, o)

    @property
    def size(self) -> int:
        """Number of products."""
        return len(self.inputs) * len(self.outputs)

    def without(self, group: int) -> FactorPair:
        """Return the pair without a group of the data."""
        assert self.inputs_left_out is not None
        assert self.outputs_left_out is not None
        return FactorPair(self.inputs_left_out[group], self.outputs_left_out[group])


@dataclass(frozen=True)
class KroneckerBlock(BlockSpectrum):
    """The spectrum of a block-diagonal matrix of Kronecker products.

    Its `eigenvalues` are formed from the factors when they are first asked for; what is passed for them is ignored.

    Attributes
    ----------
    pairs : tuple of FactorPair
        The products side by side: one per layer, or per group of a grouped convolution.
    approximation : str
        "expand" or "reduce": how positions that share a weight were treated.
    draws : int
        Random square roots per sample that the output gradients were told from; 0 where all were taken.
    """

    pairs: tuple[FactorPair, ...] = ()
    approximation: str = APPROXIMATIONS[0]
    draws: int = 0

    def __post_init__(self) -> None:
        """Make room for the eigenvalues that the factors tell."""
        self.__dict__.pop("eigenvalues", None)

    @cached_property  # type: ignore[misc]
    def eigenvalues(self) -> Float64Array:
        """All eigenvalues, ascending. Shape (n,)."""
        return products(self.pairs)

    def left_out(self, group: int) -> Float64Array:
        """Return all eigenvalues, ascending, of the same approximation without a group of the data. Shape (n,)."""
        return products([pair.without(group) for pair in self.pairs])


def products(pairs: Sequence[FactorPair]) -> Float64Array:
    """Return the eigenvalues of Kronecker products side by side, ascending."""
    found = np.concatenate([np.multiply.outer(pair.inputs, pair.outputs).reshape(-1) for pair in pairs])
    found.sort()
    return found


def is_drawn(block: BlockSpectrum) -> bool:
    """Whether random square roots went into a block, so that its eigenvalues are estimates."""
    return isinstance(block, KroneckerBlock) and block.draws > 0
