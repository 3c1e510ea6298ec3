"""Exact eigenvalues of a small block: form the matrix from products with unit vectors.

n products give every column; the symmetric part goes to a dense eigensolver in float64.  The result is exact for
this data up to the rounding of the products.  Where the products come with the contributions of data groups, the
matrices of the groups are formed alongside, at no further product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.eigensolver.requests import Products

Float64Array = NDArray[np.float64]

COLUMNS_AT_ONCE = 64


@dataclass(frozen=True)
class FormedMatrix:
    """A block formed whole.

    Attributes
    ----------
    total : Float64Array
        The symmetric matrix, shape (n, n).
    groups : NDArray[np.floating] or None
        Mean curvature of each data group, symmetric, shape (g, n, n), in the dtype of the products.
    """

    total: Float64Array
    groups: NDArray[np.floating] | None

    def eigenvalues(self) -> Float64Array:
        """Return all eigenvalues, ascending, shape (n,)."""
        return np.asarray(np.linalg.eigvalsh(self.total), dtype=np.float64)


def form_matrix(size: int, *, device: torch.device | str, keep_groups: bool) -> Products[FormedMatrix]:
    """Form an n × n operator from n products.

    Parameters
    ----------
    size : int
        Dimension n; n² float64 numbers must fit in memory, and (1 + g) times as many where groups are kept.
    device : torch.device or str
        Where the columns must live.
    keep_groups : bool
        Whether the contributions of the data groups are kept, where products have them.

    Yields
    ------
    Tensor
        Unit vectors, shape (n, k).

    Returns
    -------
    FormedMatrix
    """
    matrix = np.empty((size, size))
    groups: NDArray[np.floating] | None = None
    for start in range(0, size, COLUMNS_AT_ONCE):
        stop = min(start + COLUMNS_AT_ONCE, size)
        columns = torch.zeros(size, stop - start, dtype=torch.float64, device=device)
        columns[torch.arange(start, stop), torch.arange(stop - start)] = 1.0
        product = yield columns
        matrix[:, start:stop] = product.total.cpu().numpy()
        if keep_groups and product.groups is not None:
            parts = product.groups.cpu().numpy()
            if groups is None:
                groups = np.empty((len(parts), size, size), dtype=parts.dtype)
            groups[:, :, start:stop] = parts
    if groups is not None:
        groups = (groups + groups.transpose(0, 2, 1)) / 2
    return FormedMatrix((matrix + matrix.T) / 2, groups)
