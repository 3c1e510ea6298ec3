"""States and journals for the tests: arrays that tell by their numbers which save they are of."""

from __future__ import annotations

import numpy as np

from hessent.journal.journal import Journal

IDENTITY = {"checkpoint": "ab" * 32, "seed": 0, "settings": {"rtol": 0.05, "blocks": ("layer", "full")}}


class Rows:
    """Rows that were there once `count` of them had been added: row i holds i, i + 1, …"""

    def __init__(self, count, width=5, pieces=3, dtype=np.float32):
        self.count, self.width, self.pieces, self.dtype = count, width, pieces, dtype
        self.asked = []

    def __len__(self):
        return self.count

    def rows_from(self, first):
        self.asked.append(first)
        for start in range(first, self.count, self.pieces):
            rows = np.arange(start, min(start + self.pieces, self.count))
            yield (rows[:, None] + np.arange(self.width)).astype(self.dtype)


def small(number):
    return {
        "number": np.array(number),
        "alphas": np.full((2, 3), number / 3),
        "random": np.arange(16, dtype=np.uint8) + np.uint8(number),
        "flag": np.array([True, False]),
        "empty": np.zeros((0, 4)),
    }


def number_of(state):
    return None if state is None else int(state[0]["number"])


def joined(state, name="vectors"):
    return np.concatenate(state[1][name])


def opened(target, identity=None, **changes):
    return Journal.open(target, identity or IDENTITY, shown_as=target.name, **changes)
