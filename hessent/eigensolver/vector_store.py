"""Vectors of a Krylov space, kept where there is room: on the device, in host memory, in a file.

Vectors are rows in the precision of the products, added in blocks.  They lie in chunks that never move: making the
set larger copies nothing.  The first chunks are on the device that multiplies, the next in host memory (pinned, and
only beside a CUDA device: on a CPU the two are one), the rest in a mapped file.  Products with the set go through
it piece by piece, in the precision of the vectors, and never hold a second copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hessent.eigensolver.overflow import Overflow
from hessent.eigensolver.saved_state import Array, GrownRows, SavedState, StateReader, numpy_dtype, row_slices
from hessent.eigensolver.vector_file import VectorFile

# A chunk costs a pass over what it is multiplied with: 40 blocks of vectors keep that below a twentieth.
_BLOCKS_PER_CHUNK = 40
_STAGED_BYTES = 2**26  # brought to a CUDA device at a time


@dataclass
class _Chunk:
    """Room for vectors, shape (room, n), of which the first `count` are there."""

    rows: Tensor
    count: int = 0

    def fill(self, block: Tensor) -> int:
        """Add vectors (r, n) as far as there is room; return how many."""
        added = min(len(block), len(self.rows) - self.count)
        self.rows[self.count : self.count + added] = block[:added]
        self.count += added
        return added


@dataclass
class _Place:
    """Where vectors may go: how many more of them, and how room for some is made."""

    left: int
    make: Callable[[int], Tensor]


def _places(
    size: int, dtype: torch.dtype, device: torch.device, memory: int | None, overflow: Overflow
) -> list[_Place]:
    """Return the places for vectors of length n, in the order in which they are filled."""
    each = size * dtype.itemsize

    def on_device(rows: int) -> Tensor:
        return torch.empty(rows, size, dtype=dtype, device=device)

    def pinned(rows: int) -> Tensor:
        return torch.empty(rows, size, dtype=dtype, pin_memory=True)

    if memory is None:
        return [_Place(0, on_device)]
    places = [_Place(memory // each, on_device)]
    if device.type == "cuda":
        places.append(_Place(overflow.host // each, pinned))
    if overflow.folder is not None:
        places.append(_Place(overflow.file // each, _MappedRows(size, dtype, overflow.folder, overflow.spilled)))
    return places


class _MappedRows:
    """Makes room for vectors in a file, which is there from the first of them on."""

    def __init__(self, size: int, dtype: torch.dtype, folder: str, spilled: Callable[[int], None]) -> None:
        self._size, self._dtype, self._folder, self._spilled = size, dtype, folder, spilled
        self._file: VectorFile | None = None

    def __call__(self, rows: int) -> Tensor:
        if self._file is None:
            self._file = VectorFile(self._folder)
        nbytes = rows * self._size * self._dtype.itemsize
        mapped = self._file.extend(nbytes)
        self._spilled(nbytes)
        return torch.frombuffer(mapped, dtype=self._dtype, count=rows * self._size).view(rows, self._size)


class VectorStore:
    """A growing set of vectors, as rows.

    Parameters
    ----------
    size : int
        Length n of a vector.
    dtype : torch.dtype
        Storage precision.
    device : torch.device
        Where products with the set are computed.
    memory : int, optional
        Bytes on the device; None for no limit.
    overflow : Overflow, optional
        What may be used beyond; the last place there is takes whatever is left.

    Attributes
    ----------
    blocks : list of int
        Vectors of each block that was added.
    """

    def __init__(
        self,
        size: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        memory: int | None = None,
        overflow: Overflow | None = None,
    ) -> None:
        self.dtype = dtype
        self._size, self._device = size, device
        self._places = _places(size, dtype, device, memory, overflow or Overflow())
        self._chunks: list[_Chunk] = []
        self.blocks: list[int] = []

    def __len__(self) -> int:
        return sum(chunk.count for chunk in self._chunks)

    def append(self, block: Tensor) -> None:
        """Add vectors (r, n).

        Raises
        ------
        ComputationError
            If they go to a file and its disk is full.
        """
        block = block.to(self.dtype)
        if len(block) > 0:
            self.blocks.append(len(block))
        while len(block) > 0:
            if not self._chunks or self._chunks[-1].count == len(self._chunks[-1].rows):
                self._chunks.append(self._chunk_for(len(block)))
            block = block[self._chunks[-1].fill(block) :]

    def last(self, count: int) -> Tensor:
        """Return the last `count` vectors, shape (count, n)."""
        parts: list[Tensor] = []
        for chunk in reversed(self._chunks):
            taken = min(count - sum(map(len, parts)), chunk.count)
            parts.insert(0, chunk.rows[chunk.count - taken : chunk.count].to(self._device))
            if sum(map(len, parts)) == count:
                break
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def coefficients(self, vectors: Tensor) -> Tensor:
        """Return the inner products of vectors (r, n) with all of the set, shape (r, j), in storage precision."""
        vectors = vectors.to(self.dtype)
        parts = [vectors @ rows.T for rows in self.pieces()]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([vectors.new_empty(len(vectors), 0), *parts], dim=1)

    def combine(self, coefficients: Tensor) -> Tensor:
        """Return the combinations C Q of the set with coefficients (r, j), shape (r, n), in storage precision."""
        total: Tensor | None = None
        first = 0
        for rows in self.pieces():
            narrow = coefficients[:, first : first + len(rows)].to(self.dtype)
            total = narrow @ rows if total is None else total.addmm_(narrow, rows)
            first += len(rows)
        if total is None:
            return torch.zeros(len(coefficients), self._size, dtype=self.dtype, device=self._device)
        return total

    def pieces(self) -> Iterator[Tensor]:
        """Yield the set in order, in pieces (j', n) on the device: views of what it can use where it lies."""
        step = max(_STAGED_BYTES // (self._size * self.dtype.itemsize), 1)
        for chunk in self._chunks:
            rows = chunk.rows[: chunk.count]
            if rows.device.type == self._device.type:
                yield rows
            else:
                for piece in torch.split(rows, step):
                    yield piece.to(self._device, non_blocking=True)

    def saved_state(self) -> SavedState:
        """Return the vectors, and the blocks they were added in: chunks are cut by them, and rounding by chunks."""
        count, row_bytes = len(self), self._size * self.dtype.itemsize

        def pieces(first: int) -> Iterator[Array]:
            start = 0
            for chunk in self._chunks:
                for part in row_slices(max(first - start, 0), min(chunk.count, count - start), row_bytes):
                    yield chunk.rows[part].cpu().numpy()
                start += chunk.count

        return SavedState({"blocks": np.array(self.blocks, dtype=np.int64)}, {"rows": GrownRows(count, pieces)})

    def restore(self, state: StateReader, *, most_at_once: int) -> None:
        """Add the vectors of a saved state to the empty set, as they were added before.

        Parameters
        ----------
        state : StateReader
            What `saved_state` returned.
        most_at_once : int
            Vectors that a block may have.

        Raises
        ------
        ValueError
            If they are vectors of another length or precision.
        """
        blocks = state.counts("blocks", 1, most_at_once)
        for block in state.rows("rows", blocks, (self._size,), numpy_dtype(self.dtype)):
            self.append(torch.from_numpy(block).to(self._device))

    def _chunk_for(self, added: int) -> _Chunk:
        """Make room for blocks of `added` vectors in the first place that takes any; the last one takes all."""
        rows = max(_BLOCKS_PER_CHUNK * added, len(self) // 2)
        place = next((place for place in self._places if place.left > 0), None)
        if place is None:
            return _Chunk(self._places[-1].make(rows))
        rows = min(rows, place.left)
        place.left -= rows
        return _Chunk(place.make(rows))
