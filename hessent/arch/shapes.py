"""What names and shapes of tensors tell, for every family alike."""

from __future__ import annotations

import math
import re
from collections.abc import Container

from hessent.arch.architecture import Rename, Shapes

WRAPPER_PREFIXES = ("_orig_mod.", "module.", "model.", "net.")
"""What torch.compile, data parallelism and trainers put in front of every key."""

_MOST_PREFIXES = 3

MOST_BLOCKS = 1000
"""No network is built deeper than this from names alone: a hostile file has names for as many as it likes."""


_MOST_PER_HEAD = 2**16


def strip_prefixes(shapes: Shapes) -> Shapes:
    """Drop wrapper prefixes that every key carries, repeatedly (``module._orig_mod.conv1.weight``).

    Examples
    --------
    >>> strip_prefixes({"module.fc.weight": (10, 4), "module.fc.bias": (10,)})
    {'fc.weight': (10, 4), 'fc.bias': (10,)}
    """
    while shapes:
        prefix = next((p for p in WRAPPER_PREFIXES if all(key.startswith(p) for key in shapes)), None)
        if prefix is None:
            return shapes
        shapes = {key.removeprefix(prefix): shape for key, shape in shapes.items()}
    return shapes


def without_common_prefixes(shapes: Shapes) -> list[Shapes]:
    """Return the shapes as they are, then without one to three dotted words that all keys begin with.

    A network that was a part of another (``backbone.conv1.weight``) is found this way.
    """
    found = [shapes]
    while shapes and len(found) <= _MOST_PREFIXES:
        word, dot, _ = next(iter(shapes)).partition(".")
        prefix = word + dot
        if not dot or not all(key.startswith(prefix) for key in shapes):
            break
        shapes = {key.removeprefix(prefix): shape for key, shape in shapes.items()}
        found.append(shapes)
    return found


def apply_rename(shapes: Shapes, rename: Rename) -> Shapes:
    """Return the shapes under the network's own key names, without the keys that the renaming drops."""
    return {new: shape for key, shape in shapes.items() if (new := rename(key)) is not None}


def count_indices(shapes: Shapes, prefix: str) -> int:
    """Return how many consecutive indices 0, 1, … follow `prefix` in the keys (the blocks of a network, say)."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
    return count_from({int(match[1]) for key in shapes if (match := pattern.match(key))}, 0)


def count_from(found: Container[int], first: int) -> int:
    """Return how many of `first`, `first` + 1, … are there before one is missing."""
    count = 0
    while first + count in found:
        count += 1
    return count


def share_matching(shapes: Shapes, pattern: re.Pattern[str]) -> float:
    """Return the share of keys that match a family's key pattern in full, 0 to 1."""
    return sum(bool(pattern.fullmatch(key)) for key in shapes) / len(shapes) if shapes else 0.0


def default_heads(width: int) -> tuple[int, str]:
    """Return the usual number of attention heads for a width, and the rule that gave it.

    Heads share one weight matrix, so their number leaves no trace in any shape.
    """
    if width % 64 == 0:
        return width // 64, "width / 64"
    # The smallest divisor from 8 up; the search is bounded, for a file or a user may say any width.
    each = next((size for size in range(8, min(width, _MOST_PER_HEAD) + 1) if width % size == 0), width)
    return width // each, "the most heads that divide the width into 8 or more each"


def integer_root(number: int) -> int | None:
    """Return the side of a square of `number` patches, None if it is not a square."""
    side = math.isqrt(number) if number > 0 else 0
    return side if side and side * side == number else None
