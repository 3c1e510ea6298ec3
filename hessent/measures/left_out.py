"""The spectra of the curvature without each group of the data, from what the groups contribute.

H = Σ_G n_G H_G / N.  Where the eigenvalues without each group are known, nothing is left to do.  Else there are
projections T_G = BᵀH_G B on every basis B in which H was measured (the outliers' vectors; each probe's Krylov
vectors), and the same holds for them:

    T = Σ_G n_G T_G / N,        T₋G = (N T − n_G T_G) / (N − n_G).

The outliers without G are the eigenvalues of T₋G in the outliers' space; a probe's rule without G has the
eigenvalues of its T₋G as nodes and the squared components of the probe's vector along the eigenvectors as weights.
The probe's vector is the first basis vector, except along Ritz vectors whose weight is known to be 1/d: there it
has the length 1/√d, as in the rules of the whole matrix (`quadrature`), so that what was random in the probes stays
out of the differences between groups.  The whole matrix is read off T in the same way: its truncation cancels.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from hessent.measures.quadrature import Rule, with_exact_weights
from hessent.measures.weighted_spectrum import WeightedSpectrum
from hessent.spectra.kronecker import KroneckerBlock
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import DataGroups, ProbeRuns

Float64Array = NDArray[np.float64]


def spectra_without_groups(block: BlockSpectrum) -> list[WeightedSpectrum] | None:
    """Return the spectrum of the whole curvature and those without each group; None where they were not kept.

    Parameters
    ----------
    block : BlockSpectrum
        With or without data groups.

    Returns
    -------
    list of WeightedSpectrum or None
        g + 1 spectra, the whole one first.
    """
    groups = block.groups
    if groups is None or groups.num_groups < 2:
        return None
    if isinstance(block, KroneckerBlock):
        without = (block.left_out(group) for group in range(groups.num_groups))
        return [WeightedSpectrum.of(values) for values in (block.eigenvalues, *without)]
    if groups.left_out is not None and block.eigenvalues is not None:
        return [WeightedSpectrum.of(values) for values in (block.eigenvalues, *groups.left_out)]
    if groups.probes is None:
        return None
    kept = _KEPT.get(groups)
    if kept is None or kept[0] is not block.probes:
        kept = _KEPT[groups] = (block.probes, _projected(block, groups, groups.probes))
    return kept[1]


# For as long as the groups are: budget and measures of a block ask for the same spectra.
_KEPT: WeakKeyDictionary[DataGroups, tuple[ProbeRuns | None, list[WeightedSpectrum]]] = WeakKeyDictionary()


def traces_without_groups(groups: DataGroups) -> Float64Array | None:
    """Return the trace of the whole curvature and those without each group; None where they are not known exactly.

    Parameters
    ----------
    groups : DataGroups
        At least two of them.

    Returns
    -------
    Float64Array or None
        Shape (g + 1,), the whole one first.
    """
    if groups.traces is None or groups.num_groups < 2:
        return None
    return _whole_and_left_out(groups.traces, groups.items)


def _projected(block: BlockSpectrum, groups: DataGroups, probes: Float64Array) -> list[WeightedSpectrum]:
    """Spectra of the whole and without each group, from projections of shape (g, p', m', m') and (g, k, k)."""
    matrices = _whole_and_left_out(probes, groups.items)  # (g + 1, p', m', m')
    single: Float64Array = np.zeros((len(matrices), 0))
    if groups.outliers is not None:
        single = np.asarray(np.linalg.eigvalsh(_whole_and_left_out(groups.outliers, groups.items)), np.float64)
    dimension = block.size - single.shape[1]
    nodes, vectors = np.linalg.eigh(matrices)
    starts = _starts(block, nodes[0], vectors[0], dimension)
    weights = np.einsum("gpij,pi->gpj", vectors, starts) ** 2
    return [WeightedSpectrum(*parts, dimension) for parts in zip(single, nodes, weights, strict=True)]


def _whole_and_left_out(parts: Float64Array, items: NDArray[np.int64]) -> Float64Array:
    """Combine what each group contributes, shape (g, …), to the whole and to what is left without each group."""
    shares = items / items.sum()
    weighted = parts * shares.reshape(-1, *[1] * (parts.ndim - 1))
    whole = weighted.sum(axis=0)
    rest = (whole - weighted) / (1.0 - shares).reshape(-1, *[1] * (parts.ndim - 1))
    return np.concatenate([whole[None], rest])


def _starts(block: BlockSpectrum, nodes: Float64Array, vectors: Float64Array, dimension: int) -> Float64Array:
    """Return the vector that stands for each probe in its basis, exact weights put in. Shape (p', m').

    Parameters
    ----------
    block : BlockSpectrum
        Its recurrences say how far each basis is from closed.
    nodes : Float64Array
        Ritz values of the whole matrix. Shape (p', m').
    vectors : Float64Array
        Ritz vectors in each probe's basis, in columns. Shape (p', m', m').
    dimension : int
        Dimension d of the space the probes live in.
    """
    count, steps = nodes.shape
    first = vectors[:, 0, :]
    amplitudes = first.copy()
    if _bases_are_the_probes(block, steps, dimension):
        assert block.probes is not None
        couplings = np.column_stack([block.probes.betas, block.probes.last_betas])[:count, steps - 1]
        rules = [Rule(nodes[p], first[p] ** 2, couplings[p] * np.abs(vectors[p, -1])) for p in range(count)]
        exact = with_exact_weights(rules, dimension, block.probes.simple)
        amplitudes = np.where(first < 0.0, -1.0, 1.0) * np.sqrt([rule.weights for rule in exact])
    starts: Float64Array = np.einsum("pij,pj->pi", vectors, amplitudes)
    return starts


def _bases_are_the_probes(block: BlockSpectrum, steps: int, dimension: int) -> bool:
    """Whether the bases are the first steps of the block's own recurrences, in the complement of its outliers."""
    outliers = 0 if block.outliers is None else len(block.outliers.values)
    return block.probes is not None and steps <= block.probes.num_steps and dimension == block.size - outliers
