"""Groups of the data, and products summed group by group.

The curvature of N items is an average, H = Σ_G n_G H_G / N over any groups G of n_G items each.  A pass that visits
the samples group by group gets every H_G V on the way to H V, at no further product; from them the error of having
just this data can be told.  A group is a contiguous run of whole samples, so groups are comparable only if the
samples come in random order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.containers import num_samples, samples
from hessent.curvature.operator import Product
from hessent.curvature.problem import Problem


@dataclass(frozen=True, eq=False)
class Division:
    """How the samples fall into groups.

    Attributes
    ----------
    ends : tuple of int
        Number of samples up to and including each group but the last, which takes the rest. Shape (g - 1,).
    items : NDArray[np.int64] or None
        Items (samples, or valid tokens) of each group, none of them zero. Shape (g,). None where the data is not
        divided.
    note : str or None
        Why the data is not divided as asked.
    """

    ends: tuple[int, ...] = ()
    items: NDArray[np.int64] | None = None
    note: str | None = None


def divide(problem: Problem, num_groups: int) -> Division:
    """Divide the samples of a problem into contiguous groups of nearly equal size and count the items of each.

    Parameters
    ----------
    problem : Problem
        With its loss measured.
    num_groups : int
        Groups wanted; below 2 the data stays undivided.

    Returns
    -------
    Division
        Undivided, with a note, where there are not two samples, or where a group would hold no item.
    """
    if num_groups < 2:
        return Division()
    total = problem.num_samples
    count = min(num_groups, total)
    if count < 2:
        return Division(note="one sample cannot be divided: the error of the data subset is not told")
    ends = tuple(round(group * total / count) for group in range(1, count))
    items = np.zeros(count, dtype=np.int64)
    for group, (inputs, targets) in in_groups(problem.micro_batches(), ends):
        items[group] += problem.count_items(inputs, targets)
    if (items == 0).any():
        empty = ", ".join(str(group + 1) for group in np.flatnonzero(items == 0))
        return Division(
            note=f"data group {empty} of {count} holds no item: the error of the data subset is not told"
        )
    note = (
        f"{total} samples are divided into {count} groups instead of {num_groups}" if count < num_groups else None
    )
    return Division(ends, items, note)


def in_groups(batches: Iterable[tuple[Any, Any]], ends: Sequence[int]) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Assign micro-batches to contiguous groups of samples; one that straddles a boundary is cut there.

    Parameters
    ----------
    batches : iterable of (inputs, targets)
        Micro-batches in the order of the samples.
    ends : sequence of int
        Number of samples up to and including each group but the last, which takes the rest; ascending.

    Yields
    ------
    tuple of (int, (inputs, targets))
        Number of the group, counted from 0, and a micro-batch that lies in it.
    """
    group, seen = 0, 0
    for inputs, targets in batches:
        count, start = num_samples(inputs), 0
        while start < count:
            if group < len(ends) and seen + start == ends[group]:
                group += 1
            stop = min(count, ends[group] - seen) if group < len(ends) else count
            whole = stop - start == count
            part = (inputs, targets) if whole else (samples(inputs, start, stop), samples(targets, start, stop))
            yield group, part
            start = stop
        seen += count


class GroupSums:
    """Partial products of one request, summed in float64; the groups must arrive one after the other.

    Parameters
    ----------
    V : Tensor
        Columns of the request, shape (n, k); the total is returned in their dtype.
    division : Division
        The groups.
    dtype : torch.dtype
        Precision of the products, in which those of the groups are kept.
    """

    def __init__(self, V: Tensor, division: Division, dtype: torch.dtype) -> None:
        self._dtype = V.dtype
        self._items = division.items
        size, count = V.shape
        # Vectors lie in rows, one after the other, as products give them.
        self._total = torch.zeros(count, size, dtype=torch.float64, device=V.device).T
        self._groups: Tensor | None = None
        if division.items is not None:
            self._part = torch.zeros(count, size, dtype=torch.float64, device=V.device).T
            rows = torch.zeros(len(division.items), count, size, dtype=dtype, device=V.device)
            self._groups = rows.transpose(1, 2)
        self._current = 0

    def add(self, group: int, columns: slice, summed: Tensor) -> None:
        """Add the products of some columns with a micro-batch's summed curvature, shape (n, k')."""
        if self._groups is None:
            self._total[:, columns] += summed
            return
        if group != self._current:
            self._finish_group()
            self._current = group
        self._part[:, columns] += summed

    def product(self, num_items: int) -> Product:
        """Return the product with the mean curvature of all items, and with that of every group."""
        self._finish_group()
        return Product(self._total.div_(num_items).to(self._dtype), self._groups)

    def _finish_group(self) -> None:
        if self._groups is None or self._items is None:
            return
        self._total += self._part
        self._groups[self._current] = self._part.div_(int(self._items[self._current]))
        self._part.zero_()
