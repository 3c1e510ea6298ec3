"""What a solver is made of while it waits for a product, as arrays: another process can go on from there.

Small arrays change with every step and are saved whole each time.  Vectors only grow in number: those that were
saved once need not be saved again.  Nothing that a state refers to is changed in place by later steps.

A state that is read back is material to judge: whatever does not fit the solver is a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
DType = np.dtype[Any] | type[np.generic]  # a kind of them too: np.floating

PIECE_BYTES = 2**26  # handed out at a time


@dataclass(frozen=True)
class GrownRows:
    """Rows that are only ever added to, as many as there were when the state was taken.

    Attributes
    ----------
    count : int
        Rows so far.
    pieces : callable
        Given a row, yields it and all that follow, in order, in pieces (r, ...).
    """

    count: int
    pieces: Callable[[int], Iterator[Array]]

    def __len__(self) -> int:
        return self.count

    def rows_from(self, first: int) -> Iterator[Array]:
        """Yield the rows from `first` on, in order, in pieces (r, ...)."""
        return self.pieces(first)


@dataclass(frozen=True)
class SavedState:
    """The state of a solver that waits for a product.

    Attributes
    ----------
    small : dict of str to array
        What changes with every step.
    grown : dict of str to GrownRows
        What is only added to.
    """

    small: dict[str, Array]
    grown: dict[str, GrownRows] = field(default_factory=dict)

    def within(self, part: str) -> SavedState:
        """Return the same as a part of a larger state, its names preceded by that of the part."""
        return SavedState(
            {f"{part}_{name}": array for name, array in self.small.items()},
            {f"{part}_{name}": rows for name, rows in self.grown.items()},
        )

    def __or__(self, other: SavedState) -> SavedState:
        """Return both as one state."""
        return SavedState(self.small | other.small, self.grown | other.grown)


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """Return NumPy's name of a precision."""
    return torch.empty(0, dtype=dtype).numpy().dtype


def row_slices(first: int, count: int, row_bytes: int) -> Iterator[slice]:
    """Yield slices of the rows from `first` to `count` that are small enough to be copied."""
    step = max(PIECE_BYTES // max(row_bytes, 1), 1)
    for start in range(first, count, step):
        yield slice(start, min(start + step, count))


def grown_rows(rows: Tensor) -> GrownRows:
    """Return the rows of a tensor (r, ...), which nobody changes."""

    def pieces(first: int) -> Iterator[Array]:
        for part in row_slices(first, len(rows), rows[:1].nbytes):
            yield rows[part].contiguous().cpu().numpy()

    return GrownRows(len(rows), pieces)


class StateReader:
    """A saved state that is being read back.

    Parameters
    ----------
    small : mapping of str to array
        What changed with every step.
    grown : mapping of str to iterable of arrays
        What was only added to, in pieces (r, ...).
    """

    def __init__(self, small: Mapping[str, Array], grown: Mapping[str, Iterable[Array]]) -> None:
        self._small, self._grown = small, grown
        self._unread = {*small, *grown}
        self._part = ""

    def within(self, part: str) -> StateReader:
        """Return the reader of a part of the state, whose names are preceded by that of the part."""
        reader = StateReader(self._small, self._grown)
        reader._unread, reader._part = self._unread, f"{self._part}{part}_"
        return reader

    def holds(self, name: str) -> bool:
        """Whether there is such an array, or such rows."""
        return self._part + name in self._small or self._part + name in self._grown

    def array(self, name: str, shape: Sequence[int | None], dtype: DType = np.float64) -> Array:
        """Return a copy of a small array of finite numbers.

        Parameters
        ----------
        name : str
            Its name in the state.
        shape : sequence of int or None
            What is expected; None for any length.
        dtype : dtype
            What is expected.

        Raises
        ------
        ValueError
            If there is none, or it is another.
        """
        found = self._take(self._small, name)
        self._require(name, found, shape, dtype)
        return np.array(found, order="C")

    def number(self, name: str) -> float:
        """Return a finite number that is not negative; raises ValueError as `array` does."""
        value = float(self.array(name, (1,))[0])
        if value < 0:
            raise ValueError(f"'{self._part}{name}' is {value}, which cannot be negative")
        return value

    def counts(self, name: str, least: int, most: int, shape: Sequence[int | None] = (None,)) -> list[int]:
        """Return whole numbers from `least` to `most`; raises ValueError as `array` does."""
        values = self.array(name, shape, np.int64).ravel().tolist()
        if any(not least <= value <= most for value in values):
            raise ValueError(f"'{self._part}{name}' holds numbers that are not in {least}…{most}")
        return [int(value) for value in values]

    def count(self, name: str, least: int, most: int) -> int:
        """Return one whole number from `least` to `most`; raises ValueError as `array` does."""
        return self.counts(name, least, most, (1,))[0]

    def rows(self, name: str, blocks: Sequence[int], shape: Sequence[int | None], dtype: DType) -> Iterator[Array]:
        """Yield copies of rows in blocks of so many, without a second copy of them all.

        Parameters
        ----------
        name : str
            Their name in the state.
        blocks : sequence of int
            Rows of each block.
        shape : sequence of int or None
            Shape of a row.
        dtype : dtype
            What is expected.

        Raises
        ------
        ValueError
            If there are none, other ones, or not as many as the blocks hold.
        """
        pieces = self._take(self._grown, name)
        rows = chain.from_iterable(self._checked(name, piece, shape, dtype) for piece in pieces)
        for block in blocks:
            taken = list(islice(rows, block))
            if len(taken) < block:
                raise ValueError(f"'{self._part}{name}' has fewer than the expected {sum(blocks)} rows")
            yield np.stack(taken)
        if next(rows, None) is not None:
            raise ValueError(f"'{self._part}{name}' has more than the expected {sum(blocks)} rows")

    def require_all_read(self) -> None:
        """Raise ValueError if something was not asked for: the state is then one of another solver."""
        if self._unread:
            raise ValueError(f"nothing of the kind is expected: {', '.join(sorted(self._unread))}")

    def _take(self, arrays: Mapping[str, Any], name: str) -> Any:
        name = self._part + name
        if name not in arrays:
            raise ValueError(f"'{name}' is missing")
        self._unread.discard(name)
        return arrays[name]

    def _checked(self, name: str, piece: Array, shape: Sequence[int | None], dtype: DType) -> Array:
        self._require(name, piece, (None, *shape), dtype)
        return piece

    def _require(self, name: str, found: Array, shape: Sequence[int | None], dtype: DType) -> None:
        wanted = tuple("any" if length is None else length for length in shape)
        fits = len(found.shape) == len(shape) and all(
            length in (None, actual) for length, actual in zip(shape, found.shape, strict=True)
        )
        if not fits or not np.issubdtype(found.dtype, dtype):
            raise ValueError(
                f"'{self._part}{name}' is {found.dtype} of shape {found.shape}, "
                f"expected {getattr(dtype, '__name__', dtype)} of {wanted}"
            )
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"'{self._part}{name}' holds numbers that are not finite")
