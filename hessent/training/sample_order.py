"""Which samples make up which batch, as a function of seed and step alone.

The training samples are shuffled anew for every pass, and the passes are laid end to end; batch s takes the places
s·B … (s + 1)·B − 1 of that endless row.  So no batch is ragged, every sample is used equally often, and a run that
is taken up at step s meets the batches it would have met.  A full batch is never shuffled: order would only change
the rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hessent.training.seeds import derive_seed


class SampleOrder:
    """The endless, seeded row of sample indices, cut into batches.

    Parameters
    ----------
    num_samples : int
        N, the samples of the training split.
    batch_size : int
        B, at most N.
    seed : int
        Seed of the shuffling; every pass has a generator of its own.
    """

    def __init__(self, *, num_samples: int, batch_size: int, seed: int) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self._seed = seed
        self._pass: tuple[int, Tensor] | None = None  # the pass shuffled last

    def batch(self, step: int) -> Tensor:
        """Return the indices (B,) int64 of the batch that update `step` (from 0) takes."""
        if self.batch_size == self.num_samples:
            return torch.arange(self.num_samples)
        parts = []
        place, end = step * self.batch_size, (step + 1) * self.batch_size
        while place < end:
            number, offset = divmod(place, self.num_samples)
            parts.append(self._shuffled(number)[offset : offset + end - place])
            place += len(parts[-1])
        return torch.cat(parts)

    def _shuffled(self, number: int) -> Tensor:
        if self._pass is None or self._pass[0] != number:
            generator = torch.Generator(device="cpu").manual_seed(derive_seed(self._seed, "shuffle", number))
            self._pass = number, torch.randperm(self.num_samples, generator=generator)
        return self._pass[1]
