"""Random start vectors, the same on every device and for any order of blocks.

Each vector has its own generator, keyed by the run's seed, the block's name, the purpose and the index, and is
drawn on the CPU.  Gaussian, not sign vectors: after normalisation they are uniform on the sphere of any subspace
they are projected to, which the quadrature in the complement of the outliers relies on.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def gaussian_vectors(
    size: int, count: int, *, seed: int, key: str, first: int = 0, device: torch.device | str = "cpu"
) -> Tensor:
    """Return `count` standard Gaussian vectors as rows.

    Parameters
    ----------
    size : int
        Length n.
    count : int
        Number of vectors.
    seed : int
        Seed of the run.
    key : str
        Block name and purpose, e.g. ``"layer1.conv1/probe"``.
    first : int
        Index of the first vector, so that a later call continues the sequence.
    device : torch.device or str
        Where they are needed.

    Returns
    -------
    Tensor
        Shape (count, n), float64.
    """
    rows = [_row(size, seed, key, index) for index in range(first, first + count)]
    return torch.stack(rows).to(device)


def generator_for(seed: int, key: str) -> torch.Generator:
    """Return a CPU generator that depends on `seed` and `key` alone."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)


def _row(size: int, seed: int, key: str, index: int) -> Tensor:
    return torch.randn(size, generator=generator_for(seed, f"{key}/{index}"), dtype=torch.float64)
