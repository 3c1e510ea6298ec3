"""Lines below the summary on the gradient of the whole model, which has no column unless one is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hessent.estimate import Estimate
from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.measures.gradient_directions import LEADING
from hessent.measures.mini_batches import OF_BATCHES, batch_size_of
from hessent.report.numbers import format_estimate, format_number
from hessent.report.selection import MeasuredBlock, Selection
from hessent.report.tables import is_unknown
from hessent.spectra.model import BlockSpectrum

_WHOLE = "full"


def notes_on_gradient(chosen: Sequence[MeasuredBlock], selection: Selection) -> list[str]:
    """Return what is known of the gradient of the block `full`, in two lines at most.

    Parameters
    ----------
    chosen : sequence of MeasuredBlock
        The blocks that are shown.
    selection : Selection
        Which measures have columns: where those of the gradient do, a line says what they are instead.
    """
    if set(selection.measures) & set(GRADIENT_MEASURES):
        what = "g: the gradient of the mean loss; gap(g) = log n − H of |g|/Σ|g|, in nats; shares: those of ‖g‖²."
        return [what, *notes_on_batches([measured.block for measured in chosen], selection.measures)]
    whole = next((measured for measured in chosen if measured.block.name == _WHOLE), None)
    if whole is None or whole.block.gradient is None:
        return []
    gap, of_batches = whole.measures["gradient_gap"], whole.measures["batch_gradient_gap"]
    if gap.value is None:
        return [f"gradient of full: {gap.reason}."]
    most = format_number(math.log(whole.block.size), 3)
    told = f"gradient of full: gap {format_estimate(gap).joined()} of at most {most} nats"
    if of_batches.value is not None:
        size = whole.block.gradient.batch_size
        told += f"; of mini-batches of {size:,}, {format_estimate(of_batches).joined()}"
    shares = whole.measures["gradient_top_share"], whole.measures["gradient_negative_share"]
    if all(map(is_unknown, shares)) and shares[0].reason == shares[1].reason:
        return [f"{told}.", f"its ‖g‖² along eigenvectors is unknown: {shares[0].reason}."]
    top, negative = map(_share, shares)
    along = f"its ‖g‖²: {top} along the {LEADING} leading eigenvectors, {negative} along negative curvature."
    return [f"{told}.", along]


def _share(share: Estimate) -> str:
    """A share by its ends, or why it is not known."""
    shown = format_estimate(share, "bracket").joined()
    return f"{shown} ({share.reason})" if is_unknown(share) and share.reason is not None else shown


def notes_on_batches(blocks: Sequence[BlockSpectrum], measures: Sequence[str]) -> list[str]:
    """Say how large the mini-batches were, where a measure depends on it.

    Parameters
    ----------
    blocks : sequence of BlockSpectrum
        The blocks that are shown.
    measures : sequence of str
        The measures that are shown.
    """
    sizes = sorted({size for block in blocks if (size := batch_size_of(block)) is not None})
    if not sizes or not set(measures) & set(OF_BATCHES):
        return []
    told = " and of ".join(f"{size:,}" for size in sizes)
    return [f"of batches: the mean over mini-batches of {told} samples; at another size it is another quantity."]
