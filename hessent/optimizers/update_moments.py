"""Collecting a model's updates, mini-batch after mini-batch, into sums of fixed size.

For each group of mini-batches every coordinate has its mean and its second to fourth central sums, by the updates
of Welford and Pébay, in float64:  with δ = x − mean before the n-th value x, δ_n = δ/n and t = δ δ_n (n − 1),

    M₄ += t δ_n² (n² − 3n + 3) + 6 δ_n² M₂ − 4 δ_n M₃,    M₃ += t δ_n (n − 2) − 3 δ_n M₂,    M₂ += t.

When a group is full they give the unbiased third and fourth central moments (`hessent.measures.update_sums`), and
are begun anew; of the group its sum stays.  Memory: 8 · (groups + 4) bytes for each parameter, whatever the number
of mini-batches.

References
----------
Pébay (2008), Formulas for robust, one-pass parallel computation of covariances and arbitrary-order moments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hessent.measures.update_sums import LOWEST, NUM_BINS, PER_OCTAVE, UpdateSums

GROUPS = 8
LEAST_OF_GROUP = 4  # mini-batches: fewer have no unbiased fourth moment


def group_sizes(num_batches: int) -> tuple[int, ...]:
    """Return how many mini-batches go into each group, as even as can be; at least 16 of them make four groups."""
    groups = min(GROUPS, num_batches // LEAST_OF_GROUP)
    return tuple(len(part) for part in np.array_split(np.arange(num_batches), groups))


class TensorMoments:
    """The updates of one tensor.

    Parameters
    ----------
    name : str
    size : int
        Coordinates.
    batches : sequence of int
        Mini-batches of each group, at least four.
    device : torch.device
        Where sums are kept.
    rounding : float
        Squared length of what rounding adds to an update, as far as it is known.
    """

    def __init__(
        self,
        name: str,
        size: int,
        batches: Sequence[int],
        device: torch.device | str = "cpu",
        *,
        rounding: float = 0.0,
    ) -> None:
        self.name, self.size, self.batches, self._rounding = name, size, tuple(batches), rounding
        groups = len(batches)
        self._sums = torch.zeros(groups, size, dtype=torch.float64, device=device)
        self._central = torch.zeros(4, size, dtype=torch.float64, device=device)
        self._group = self._within = 0
        self._squares, self._third, self._fourth = np.zeros((3, groups))
        self._counts = np.zeros((groups, 2, NUM_BINS), dtype=np.int64)
        self._zeros = np.zeros(groups, dtype=np.int64)

    def add(self, update: Tensor) -> None:
        """Take the update of the next mini-batch, in any shape."""
        values = update.detach().to(torch.float64).reshape(-1)
        self._within += 1
        _welford(self._central, values, self._within)
        self._squares[self._group] += float(values @ values)
        self._count(values)
        if self._within == self.batches[self._group]:
            self._close_group()

    def sums(self) -> UpdateSums:
        """Return the sums, once every mini-batch was added."""
        gram = (self._sums @ self._sums.T).cpu().numpy()
        return UpdateSums(
            self.name,
            self.size,
            np.array(self.batches),
            gram,
            self._squares,
            self._third,
            self._fourth,
            self._counts,
            self._zeros,
            self._rounding,
        )

    def _count(self, values: Tensor) -> None:
        nonzero = values[values != 0]
        self._zeros[self._group] += values.numel() - nonzero.numel()
        bins = ((nonzero.abs().log2() - LOWEST) * PER_OCTAVE).floor().long().clamp_(0, NUM_BINS - 1)
        found = torch.bincount(bins + NUM_BINS * (nonzero > 0), minlength=2 * NUM_BINS)
        self._counts[self._group] += found.cpu().numpy().reshape(2, NUM_BINS)

    def _close_group(self) -> None:
        n, group = self._within, self._group
        mean, second, third, fourth = self._central
        if group == 0:
            self._third[0] = np.nan
        else:
            direction = self._sums[:group].sum(dim=0).sign()
            self._third[group] = float((direction * third).sum()) * n / ((n - 1) * (n - 2))
        # With m₂ = M₂/n and m₄ = M₄/n: h₄ = (n (n² − 2n + 3) m₄ − 3n (2n − 3) m₂²) / ((n − 1)(n − 2)(n − 3)).
        whole = (n * n - 2 * n + 3) * float(fourth.sum()) - 3 * (2 * n - 3) / n * float(second @ second)
        self._fourth[group] = whole / ((n - 1) * (n - 2) * (n - 3))
        self._sums[group] = n * mean
        self._central.zero_()
        self._group, self._within = group + 1, 0


def _welford(central: Tensor, values: Tensor, n: int) -> None:
    """Add one value of every coordinate, the n-th; rows are the mean and the central sums of order 2, 3, 4."""
    mean, second, third, fourth = central
    delta = values - mean
    share = delta / n
    term = delta * share * (n - 1)
    mean += share
    fourth += term * share**2 * (n * n - 3 * n + 3) + 6 * share**2 * second - 4 * share * third
    third += term * share * (n - 2) - 3 * share * second
    second += term
