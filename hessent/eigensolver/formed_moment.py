"""All eigenvalues of a block of the empirical Fisher matrix, from its second moment or its Gram form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hessent.curvature.second_moments import SecondMoment
from hessent.eigensolver.data_groups import groups_of_formed
from hessent.eigensolver.dense import FormedMatrix
from hessent.spectra.model import BlockSpectrum, DataGroups

Float64Array = NDArray[np.float64]


def spectrum_of_moment(
    empty: BlockSpectrum,
    moment: SecondMoment,
    items: NDArray[np.int64] | None,
    *,
    count: int,
    sampled_fraction: float,
    seed: int,
) -> BlockSpectrum:
    """Return the spectrum of a block, exact for this data.

    Parameters
    ----------
    empty : BlockSpectrum
        Name, size and everything else that does not depend on the matrix.
    moment : SecondMoment
        Of the gradients by the block's parameters.
    items : NDArray[np.int64] or None
        Samples of each data group, shape (g,); None where the data is undivided.
    count : int
        Samples N.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.
    seed : int
        Of the probes for the groups of a larger block.
    """
    if moment.gram is not None:
        eigenvalues = _padded(moment.gram / count, empty.size)
        groups = None if items is None else _without_each(moment.gram, items, empty.size, sampled_fraction)
        status = f"exact, from the Gram matrix of {count:,} gradients"
    else:
        assert moment.groups is not None
        total = moment.groups.sum(0) / count
        eigenvalues = np.linalg.eigvalsh(total)
        groups = None
        if items is not None:
            means = moment.groups / items[:, None, None]
            groups = groups_of_formed(FormedMatrix(total, means), items, sampled_fraction, seed=seed)
        status = f"exact, from {count:,} gradients"
    return replace(empty, method="exact", converged=True, status=status, eigenvalues=eigenvalues, groups=groups)


def _padded(matrix: Float64Array, size: int) -> Float64Array:
    """Eigenvalues of a Gram matrix, none below zero, and zeros up to the size of the block; ascending."""
    values = np.clip(np.linalg.eigvalsh(matrix), 0.0, None)
    return np.concatenate([np.zeros(size - len(values)), values])


def _without_each(gram: Float64Array, items: NDArray[np.int64], size: int, sampled_fraction: float) -> DataGroups:
    """Eigenvalues without the gradients of each group, and the groups' traces."""
    ends = np.cumsum(items)
    parts = [slice(end - count, end) for end, count in zip(ends, items, strict=True)]
    left_out = []
    for part in parts:
        kept = np.delete(np.arange(len(gram)), part)
        left_out.append(_padded(gram[np.ix_(kept, kept)] / len(kept), size))
    squares = np.diagonal(gram)
    traces = np.array([squares[part].mean() for part in parts])
    return DataGroups(items, sampled_fraction, left_out=np.array(left_out), traces=traces)
