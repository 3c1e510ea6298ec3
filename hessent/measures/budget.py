"""Where the half-width of a smooth measure comes from: probes, quadrature, data subset and precision."""

from __future__ import annotations

import math

from hessent.measures.entropy import gap_functional
from hessent.measures.functionals import extremes, only_trace
from hessent.measures.trace import abs_trace_spread, trace_spread
from hessent.spectra.model import BlockSpectrum


def error_budget(block: BlockSpectrum, alpha: float = 1.0) -> dict[str, dict[str, float | None]]:
    """Return where the half-widths of the smooth measures come from.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled.
    alpha : float
        Rényi order of the entropy gap.

    Returns
    -------
    dict of str to dict
        For `trace`, `abs_trace` and (α > 0) `entropy_gap`: half-widths `probes` and `quadrature`, and `data` and
        `precision` (None where not measured), in the unit of the measure. For the trace alone where nothing else
        was estimated.
    """
    spreads = {"trace": trace_spread(block)}
    if not only_trace(block):
        spreads["abs_trace"] = abs_trace_spread(block)
        if alpha > 0.0 and any(value for value, _ in extremes(block)):
            sums, functional = gap_functional(block, alpha)
            spreads["entropy_gap"] = sums.spread(functional)
    budget: dict[str, dict[str, float | None]] = {}
    for name, spread in spreads.items():
        probes, quadrature = (part if math.isfinite(part) else None for part in (spread.probes, spread.quadrature))
        budget[name] = {"probes": probes, "quadrature": quadrature, "data": None, "precision": None}
    return budget
