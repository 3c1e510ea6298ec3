"""Measures of mini-batches' gradients are one quantity at one size of the mini-batches alone.

Fewer samples spread or concentrate a gradient, so that the same weights have other entropies at another size.  What
travels with such a measure is therefore the size; between two sizes there is no difference.

Nothing here needs NumPy: a check of JSON documents does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hessent.spectra.model import BlockSpectrum

OF_BATCHES = ("batch_gradient_entropy", "batch_gradient_gap")

_UNKNOWN_SIZE = "the size of the mini-batches is not stated, as in documents of older versions"


def batch_size_of(block: BlockSpectrum) -> int | None:
    """Return how many samples each mini-batch of a block's gradients had; None where there are no mini-batches."""
    gradient = block.gradient
    return None if gradient is None or not len(gradient.batches) else gradient.batch_size


def other_size(own: int | None, other: int | None) -> str | None:
    """Return the clause that two sizes differ, smaller first; None where they do not, or one is unknown."""
    if own is None or other is None or own == other:
        return None
    return f"mini-batches of {min(own, other):,} and of {max(own, other):,} samples"


def obstacle(own: int | None, other: int | None) -> str | None:
    """Return why measures of mini-batches of these sizes are not compared (a clause); None where they are.

    Parameters
    ----------
    own, other : int or None
        Samples of each mini-batch; None where that is not known.
    """
    return _UNKNOWN_SIZE if own is None or other is None else other_size(own, other)
