"""All eigenvalues of a block of the empirical Fisher matrix, from its second moment or its Gram form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hessent.curvature.second_moments import SecondMoment
from hessent.eigensolver.data_groups import groups_of_formed
from hessent.eigensolver.dense import FormedMatrix
from hessent.eigensolver.gradient_along import GradientVector, along_eigenvectors
from hessent.spectra.gradients import GradientAlong
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import DataGroups

Float64Array = NDArray[np.float64]

_MOST_SHARES = 1 << 17  # parameters of a block; nearly all shares are zero, and files have bounds


def spectrum_of_moment(
    empty: BlockSpectrum,
    moment: SecondMoment,
    items: NDArray[np.int64] | None,
    *,
    count: int,
    sampled_fraction: float,
    seed: int,
    gradient_vector: GradientVector | None = None,
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
    gradient_vector : callable, optional
        Returns the mean of the gradients, shape (n,).
    """
    gradient = empty.gradient
    if moment.gram is not None:
        eigenvalues = _padded(moment.gram / count, empty.size)
        if gradient is not None and gradient_vector is not None and empty.size <= _MOST_SHARES:
            gradient = replace(gradient, along=_along_mean(moment.gram, empty.size))
        groups = None if items is None else _without_each(moment.gram, items, empty.size, sampled_fraction)
        status = f"exact, from the Gram matrix of {count:,} gradients"
    else:
        assert moment.groups is not None
        total = moment.groups.sum(0) / count
        if gradient is None or gradient_vector is None:
            eigenvalues = np.linalg.eigvalsh(total)
        else:
            eigenvalues, gradient = along_eigenvectors(total, gradient, gradient_vector())
        groups = None
        if items is not None:
            means = moment.groups / items[:, None, None]
            groups = groups_of_formed(FormedMatrix(total, means), items, sampled_fraction, seed=seed)
        status = f"exact, from {count:,} gradients"
    return replace(
        empty,
        method="exact",
        converged=True,
        status=status,
        eigenvalues=eigenvalues,
        groups=groups,
        gradient=gradient,
    )


def _along_mean(gram: Float64Array, size: int) -> GradientAlong:
    """Shares of the mean gradient along the eigenvectors of the second moment, told by the Gram matrix alone.

    With G the N gradients as rows and u an eigenvector of G Gᵀ of eigenvalue κ > 0, Gᵀu / √κ is one of GᵀG, and the
    mean gradient Gᵀ1 / N has the component √κ (u·1) / N along it, and none outside their span.
    """
    values, vectors = np.linalg.eigh(gram)
    squares = np.clip(values, 0.0, None) * vectors.sum(axis=0) ** 2
    total = float(squares.sum())
    shares = squares / total if total > 0.0 else squares
    return GradientAlong(np.concatenate([np.zeros(size - len(shares)), shares]))


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
