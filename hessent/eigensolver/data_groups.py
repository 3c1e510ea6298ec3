"""What the data groups contribute to a block that was formed whole.

Small blocks: the eigenvalues without each group, exactly.  Larger ones, where g dense eigenvalue problems would
cost more than they tell: the groups' matrices projected on the outliers and on the Krylov spaces of a few probes,
as for a sampled block, with the recurrences run on the matrix at hand.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.dense import FormedMatrix
from hessent.eigensolver.lanczos import LockstepLanczos
from hessent.eigensolver.outliers import OutlierSearch
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import answer
from hessent.spectra.recurrences import DataGroups

_LEFT_OUT_LIMIT = 512  # parameters up to which g dense eigenvalue problems cost little beside the products
_SEARCH = 100  # steps, for about half as many outliers
_OUTLIERS = 48  # with 6 probes of 50 steps the jackknife was within 15 % on small trained nets
_PROBES = 6
_STEPS = 40


def groups_of_formed(
    formed: FormedMatrix, items: NDArray[np.int64], sampled_fraction: float, *, seed: int
) -> DataGroups | None:
    """Return what the delete-a-group jackknife needs of a block formed whole.

    Parameters
    ----------
    formed : FormedMatrix
        The block and its groups' matrices.
    items : NDArray[np.int64]
        Items of each group, shape (g,).
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.
    seed : int
        Seed of the probes.

    Returns
    -------
    DataGroups or None
        None where the groups' matrices were not kept.
    """
    if formed.groups is None:
        return None
    size = len(formed.total)
    traces = np.trace(formed.groups, axis1=1, axis2=2).astype(np.float64)
    if size <= _LEFT_OUT_LIMIT:
        shares = items / items.sum()
        left_out = [
            np.linalg.eigvalsh((formed.total - share * group) / (1 - share))
            for share, group in zip(shares, formed.groups, strict=True)
        ]
        return DataGroups(items, sampled_fraction, left_out=np.array(left_out), traces=traces)
    outliers, probes = _spaces(formed.total, seed)
    return DataGroups(
        items,
        sampled_fraction,
        outliers=_projected(outliers, formed.groups) if len(outliers) else None,
        probes=np.stack([_projected(basis, formed.groups) for basis in probes], axis=1),
        traces=traces,
    )


class _Formed(SymmetricOperator):
    """A matrix at hand, as an operator."""

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        self._matrix = torch.from_numpy(matrix)
        self.size = len(matrix)
        self.dtype, self.device, self.name, self.num_matvecs = torch.float64, torch.device("cpu"), "formed", 0

    def _multiply(self, V: torch.Tensor) -> torch.Tensor:
        return self._matrix @ V


def _spaces(matrix: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return outliers' vectors (k, n) and the Krylov vectors (p, m, n) of probes in their complement."""
    operator = _Formed(matrix)
    starts = gaussian_vectors(operator.size, 1 + _PROBES, seed=seed, key="data groups")
    search = OutlierSearch(starts[0], basis_limit=_SEARCH, dtype=torch.float64, fresh=starts[:0])
    answer(search.extend(_SEARCH), operator)
    found = search.pairs()
    outliers = found.leading(min(found.num_converged, _OUTLIERS)).vectors
    probes = LockstepLanczos(starts[1:], outliers, dtype=torch.float64, keep_basis=True)
    answer(probes.extend(_STEPS), operator)
    rows = probes.basis_rows
    assert rows is not None
    return outliers.numpy(), rows[:, : probes.num_steps].numpy()


def _projected(rows: NDArray[np.float64], groups: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return B H_G Bᵀ for rows B (j, n) and every group's matrix (g, n, n): shape (g, j, j)."""
    narrow = rows.astype(groups.dtype)
    found: NDArray[np.float64] = (narrow @ groups @ narrow.T).astype(np.float64)
    return (found + found.transpose(0, 2, 1)) / 2
