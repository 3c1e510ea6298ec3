"""Exact eigenvalues of a small block: form the matrix from products with unit vectors.

n products give every column; the symmetric part goes to a dense eigensolver in float64.  The result is exact for
this data up to the rounding of the products.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.eigensolver.requests import Products

_COLUMNS_AT_ONCE = 64


def exact_eigenvalues(size: int, *, device: torch.device | str) -> Products[NDArray[np.float64]]:
    """Compute all eigenvalues of an n × n operator from n products.

    Parameters
    ----------
    size : int
        Dimension n; n² float64 numbers must fit in memory.
    device : torch.device or str
        Where the columns must live.

    Yields
    ------
    Tensor
        Unit vectors, shape (n, k).

    Returns
    -------
    NDArray[np.float64]
        Eigenvalues, ascending. Shape (n,).
    """
    matrix = np.empty((size, size))
    for start in range(0, size, _COLUMNS_AT_ONCE):
        stop = min(start + _COLUMNS_AT_ONCE, size)
        columns = torch.zeros(size, stop - start, dtype=torch.float64, device=device)
        columns[torch.arange(start, stop), torch.arange(stop - start)] = 1.0
        product = yield columns
        matrix[:, start:stop] = product.cpu().numpy()
    return np.asarray(np.linalg.eigvalsh((matrix + matrix.T) / 2), dtype=np.float64)
