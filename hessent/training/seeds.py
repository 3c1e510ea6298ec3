"""One seed, many independent streams of random numbers."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, purpose: str, number: int) -> int:
    """Return the seed, below 2^63, of the `number`-th stream that `seed` gives for a purpose.

    Streams of different seeds, purposes and numbers have nothing to do with each other: seed 1 is not seed 0 one
    pass later.
    """
    digest = hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
