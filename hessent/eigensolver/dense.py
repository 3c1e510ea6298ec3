"""Exact eigenvalues of a small block: form the matrix from products with unit vectors.

n products give every column; the symmetric part goes to a dense eigensolver in float64.  The result is exact for
this data up to the rounding of the products.  Where the products come with the contributions of data groups, the
matrices of the groups are formed alongside, at no further product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import Array, GrownRows, SavedState, StateReader, row_slices

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


class FormingMatrix:
    """An n × n operator that is being formed from n products.

    Parameters
    ----------
    size : int
        Dimension n; n² float64 numbers must fit in memory, and (1 + g) times as many where groups are kept.
    device : torch.device or str
        Where the columns must live.
    keep_groups : bool
        Whether the contributions of the data groups are kept, where products have them.

    Attributes
    ----------
    num_columns : int
        Columns formed so far.
    """

    def __init__(self, size: int, *, device: torch.device | str, keep_groups: bool) -> None:
        self.num_columns = 0
        self._size, self._device, self._keep_groups = size, device, keep_groups
        self._matrix = np.empty((0, 0))  # until the first column
        self._groups: NDArray[np.floating] | None = None

    def form(self) -> Products[FormedMatrix]:
        """Form the columns that are not there yet.

        Yields
        ------
        Tensor
            Unit vectors, shape (n, k).

        Returns
        -------
        FormedMatrix
        """
        while self.num_columns < self._size:
            start, stop = self.num_columns, min(self.num_columns + COLUMNS_AT_ONCE, self._size)
            columns = torch.zeros(self._size, stop - start, dtype=torch.float64, device=self._device)
            columns[torch.arange(start, stop), torch.arange(stop - start)] = 1.0
            product = yield columns
            self._make_room()
            self._matrix[:, start:stop] = product.total.cpu().numpy()
            if self._keep_groups and product.groups is not None:
                parts = product.groups.cpu().numpy()
                self._groups_like(parts)[:, :, start:stop] = parts
            self.num_columns = stop
        groups = None if self._groups is None else (self._groups + self._groups.transpose(0, 2, 1)) / 2
        return FormedMatrix((self._matrix + self._matrix.T) / 2, groups)

    def saved_state(self) -> SavedState:
        """Return the columns formed so far, as rows (n,), and those of the groups, as rows (g, n)."""
        count, matrix, groups = self.num_columns, self._matrix, self._groups

        def columns(first: int) -> Iterator[Array]:
            for part in row_slices(first, count, matrix.itemsize * self._size):
                yield matrix[:, part].T.copy()

        grown = {"columns": GrownRows(count, columns)}
        if groups is not None:
            kept = groups

            def group_columns(first: int) -> Iterator[Array]:
                for part in row_slices(first, count, kept[:, :, 0].nbytes):
                    yield kept[:, :, part].transpose(2, 0, 1).copy()

            grown["group_columns"] = GrownRows(count, group_columns)
        return SavedState({"num_columns": np.array([count])}, grown)

    def restore(self, state: StateReader, *, num_groups: int) -> None:
        """Go on from the columns of a saved state, where none has been formed.

        Raises
        ------
        ValueError
            If they are those of another matrix, or of another number of data groups.
        """
        count = state.count("num_columns", 1, self._size)
        if count % COLUMNS_AT_ONCE and count < self._size:
            raise ValueError(f"{count} columns were formed, expected a multiple of {COLUMNS_AT_ONCE}")
        starts = range(0, count, COLUMNS_AT_ONCE)
        blocks = [min(COLUMNS_AT_ONCE, count - start) for start in starts]
        self._make_room()
        columns = state.rows("columns", blocks, (self._size,), np.float64)
        for start, rows in zip(starts, columns, strict=True):
            self._matrix[:, start : start + len(rows)] = rows.T
        if self._keep_groups and num_groups > 0:
            columns = state.rows("group_columns", blocks, (num_groups, self._size), np.floating)
            for start, rows in zip(starts, columns, strict=True):
                parts = rows.transpose(1, 2, 0)
                self._groups_like(parts)[:, :, start : start + len(rows)] = parts
        self.num_columns = count

    def _make_room(self) -> None:
        if len(self._matrix) < self._size:
            self._matrix = np.empty((self._size, self._size))

    def _groups_like(self, parts: NDArray[np.floating]) -> NDArray[np.floating]:
        if self._groups is None:
            self._groups = np.empty((parts.shape[0], self._size, self._size), dtype=parts.dtype)
        return self._groups
