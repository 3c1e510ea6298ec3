"""Where the half-width of a measure comes from: probes, quadrature, data subset and precision."""

from __future__ import annotations

import math

from hessent.measures.entropy import gap_functional
from hessent.measures.functionals import extremes, only_trace
from hessent.measures.population import DataErrors
from hessent.measures.replicates import Spread
from hessent.measures.trace import abs_trace_spread, extreme_slack, trace_spread
from hessent.spectra.model import BlockSpectrum


def error_budget(block: BlockSpectrum, alpha: float = 1.0) -> dict[str, dict[str, float | None]]:
    """Return where the half-widths of the measures come from.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled.
    alpha : float
        Rényi order of the entropy gap.

    Returns
    -------
    dict of str to dict
        For `trace`, `abs_trace`, `lambda_max` and (α > 0) `entropy_gap`, or for the trace alone where nothing else
        was estimated. Half-widths in the unit of the measure, None where not measured: `probes`; `quadrature`, the
        truncation of the recurrences, for λ_max the residual; `data`, the choice of the samples, which only the
        population interval holds; `precision`, the noise of the products, which the interval of an exact block
        leaves out.
    """
    spreads = {"trace": trace_spread(block)}
    if not only_trace(block):
        spreads["abs_trace"] = abs_trace_spread(block)
        value, residual = extremes(block)[0]
        spreads["lambda_max"] = Spread(value, 0.0, residual, extreme_slack(block))
        if alpha > 0.0 and any(value for value, _ in extremes(block)):
            sums, functional = gap_functional(block, alpha)
            spreads["entropy_gap"] = sums.spread(functional)
    data = DataErrors(block, alpha=alpha)
    budget: dict[str, dict[str, float | None]] = {}
    for name, spread in spreads.items():
        # A noise of exactly zero was not measured; λ_max goes by the largest instead of the mean one.
        measured = (block.noise if name == "lambda_max" else block.noise_floor) > 0.0
        error = data.of(name)
        budget[name] = {
            "probes": _finite(spread.probes),
            "quadrature": _finite(spread.quadrature),
            "data": None if error is None else error.half_width,
            "precision": _finite(spread.precision) if measured else None,
        }
    return budget


def _finite(half_width: float) -> float | None:
    return half_width if math.isfinite(half_width) else None
