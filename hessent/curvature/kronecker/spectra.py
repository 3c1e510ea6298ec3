"""From factors to the spectra of blocks.

The matrix is block-diagonal over layers, each A ⊗ G with the 1 of the bias as A's last coordinate.  So a block that
holds all parameters of some layers is those products side by side; one that holds a weight without its bias, or the
bias alone, is the principal submatrix: A without its last coordinate, or that coordinate alone.  A block with a
parameter that no factor covers has no K-FAC.

The diagonal of A ⊗ G is that of A times that of G, so the matrix scaled to a unit diagonal is again a product, that
of both factors scaled to theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.kronecker.factors import Factors, StoppedError
from hessent.curvature.kronecker.layers import FactorLayer
from hessent.spectra.kronecker import APPROXIMATIONS, METHOD, MOST_EIGENVALUES, FactorPair, KroneckerBlock
from hessent.spectra.recurrences import DataGroups

Float64Array = NDArray[np.float64]

COVERED = "covered"  # what the whole matrix is called where factors do not cover all of it


def blocks_with_factors(
    blocks: Sequence[Block], layers: dict[str, FactorLayer], sizes: dict[str, int]
) -> tuple[tuple[Block, ...], dict[str, str]]:
    """Choose the blocks that factors cover; the whole matrix shrinks to what they cover.

    Parameters
    ----------
    blocks : sequence of Block
        What was asked for.
    layers : dict of str to FactorLayer
        By covered parameter.
    sizes : dict of str to int
        Entries of every parameter.

    Returns
    -------
    tuple of Block
        Those that are left; the whole one is called `covered` if something is missing from it.
    dict of str to str
        Why a block is left out, by name.
    """
    kept, left_out = [], {}
    for block in blocks:
        missing = [name for name in block.parameters if name not in layers]
        if missing and block.name == FULL and len(missing) < len(block.parameters):
            names = tuple(name for name in block.parameters if name in layers)
            block = Block(COVERED, names, sum(sizes[name] for name in names))
        elif missing:
            left_out[block.name] = f"no factors for {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}"
            continue
        if block.size > MOST_EIGENVALUES:
            left_out[block.name] = f"{block.size:,} eigenvalues, of which at most {MOST_EIGENVALUES:,} are kept"
            continue
        kept.append(block)
    return tuple(kept), left_out


class FactorSpectra:
    """Eigenvalues of factors, each computed once.

    Parameters
    ----------
    factors : Factors
        The second moments.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.
    noise : float
        Relative rounding of the vectors that went into the factors.
    unit_diagonal : bool
        Whether the matrix is scaled to ones on its diagonal, that of all data for the groups of it too.
    should_stop : callable
        Asked between layers.
    """

    def __init__(
        self,
        factors: Factors,
        *,
        sampled_fraction: float = 0.0,
        noise: float = 0.0,
        unit_diagonal: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._factors = factors
        self._sampled_fraction, self._noise, self._should_stop = sampled_fraction, noise, should_stop
        self._unit_diagonal = unit_diagonal
        self._layers = factors.coverage.parameters
        self._known: dict[tuple[str, str], list[Float64Array]] = {}  # by layer and part: (1 + g, pairs, values)

    def block(self, block: Block) -> KroneckerBlock:
        """Return the spectrum of a block of covered parameters.

        Raises
        ------
        StoppedError
            If `should_stop` said so.
        """
        pairs: list[FactorPair] = []
        for layer in dict.fromkeys(self._layers[name] for name in block.parameters):
            pairs += self._pairs(layer, layer.weight in block.parameters, layer.bias in block.parameters)
        factoring, items = self._factors.factoring, self._factors.items
        return KroneckerBlock(
            name=block.name,
            size=block.size,
            parameters=block.parameters,
            method=METHOD,
            num_matvecs=0,
            converged=True,
            status="random square roots" if factoring.draws else "exact expectation",
            noise=self._noise,
            groups=DataGroups(items, self._sampled_fraction) if len(items) > 1 else None,
            pairs=tuple(pairs),
            approximation=APPROXIMATIONS[int(factoring.reduce)],
            draws=factoring.draws,
            semidefinite=True,
        )

    def _pairs(self, layer: FactorLayer, weight: bool, bias: bool) -> list[FactorPair]:
        part = slice(0 if weight else layer.weight_size, None if bias else layer.weight_size)
        inputs = self._values(layer, f"inputs {part}", lambda factors: factors[0][:, part, part])
        outputs = self._values(layer, "outputs", lambda factors: factors[1])
        grouped = len(inputs) > 1
        return [
            FactorPair(
                inputs[0][pair],
                outputs[0][pair],
                np.stack([values[pair] for values in inputs[1:]]) if grouped else None,
                np.stack([values[pair] for values in outputs[1:]]) if grouped else None,
            )
            for pair in range(layer.num_pairs)
        ]

    def _values(
        self, layer: FactorLayer, part: str, choose: Callable[[tuple[Tensor, Tensor]], Tensor]
    ) -> list[Float64Array]:
        """Eigenvalues (pairs, d) with all data, then without each group."""
        if (layer.name, part) not in self._known:
            if self._should_stop():
                raise StoppedError
            sums, items = self._factors.sums[layer.name], self._factors.items
            cases = [None, *range(len(items))] if len(items) > 1 else [None]
            matrices = [choose(sums.factors(items, without=group)) for group in cases]
            if self._unit_diagonal:
                scales = _inverse_roots(matrices[0].diagonal(dim1=1, dim2=2))
                matrices = [scales[:, :, None] * matrix * scales[:, None, :] for matrix in matrices]
            self._known[layer.name, part] = [eigenvalues(matrix) for matrix in matrices]
        return self._known[layer.name, part]


def _inverse_roots(diagonal: Tensor) -> Tensor:
    """One over the root of a diagonal (pairs, d); 0 where it is 0: there the row and the column are zero, too."""
    alive = diagonal > 0.0
    return diagonal.where(alive, 1.0).rsqrt().where(alive, 0.0)


def eigenvalues(matrices: Tensor) -> Float64Array:
    """Return the eigenvalues of second moments (pairs, d, d), ascending; what only rounding tells from 0 is 0."""
    values = torch.linalg.eigvalsh(matrices.cpu())
    floor = values[:, -1:].clamp_min(0.0) * (matrices.shape[-1] * torch.finfo(torch.float64).eps)
    found: Float64Array = values.where(values > floor, 0.0).numpy()
    return found
