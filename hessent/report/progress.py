"""What is said of a block while it is being refined."""

from __future__ import annotations

from dataclasses import replace

from hessent.measures.registry import compute_measures
from hessent.report.numbers import format_estimate
from hessent.spectra.model import BlockSpectrum


def current_estimate(block: BlockSpectrum) -> str:
    """Return a block's name and its entropy gap, or its trace where the gap is not known, with the error so far."""
    measures = compute_measures(replace(block, groups=None))  # the population's interval takes longer, and can wait
    title, estimate = "gap", measures["entropy_gap"]
    if estimate.value is None:
        title, estimate = "trace", measures["trace"]
    return f"{block.name}: {title} {format_estimate(estimate).joined()}"
