"""Lines below the summary on the gradient of the whole model, which has no column unless one is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.measures.gradient_directions import LEADING
from hessent.report.numbers import format_estimate, format_number
from hessent.report.selection import MeasuredBlock, Selection

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
        return [
            "g: the gradient of the mean loss; gap(g) = log n − H of |g|/Σ|g|, in nats; shares are those of ‖g‖²."
        ]
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
    if any(share.value is None for share in shares):
        return [f"{told}."]
    top, negative = (format_estimate(share, "bracket").joined() for share in shares)
    along = f"its ‖g‖²: {top} along the {LEADING} leading eigenvectors, {negative} along negative curvature."
    return [f"{told}.", along]
