"""All measures of a block by name, in the order in which tables and JSON show them."""

from __future__ import annotations

from hessent.estimate import Estimate
from hessent.measures.budget import error_budget
from hessent.measures.condition import condition_damped, condition_from_gap, condition_lower_ritz
from hessent.measures.drawn import as_drawn
from hessent.measures.entropy import entropy_from_gap, entropy_gap, rank_from_gap
from hessent.measures.gradient import GRADIENT_MEASURES, gradient_measures
from hessent.measures.population import with_population
from hessent.measures.ratios import ratios, tau
from hessent.measures.trace import abs_trace, lambda_max, lambda_min, negative_mass, trace
from hessent.spectra.kronecker import is_drawn
from hessent.spectra.model import BlockSpectrum

__all__ = ["compute_measures", "error_budget", "measure_names", "negative_mass", "spoiled_by_noise", "tau"]

NOISE_LIMIT = 1e-5  # relative to max abs(λ); above it entropies, abs_trace and ratios move invisibly

_NAMES = (
    "trace",
    "abs_trace",
    "lambda_max",
    "lambda_min",
    "positive_ratio",
    "negative_ratio",
    "zero_ratio",
    "entropy",
    "entropy_gap",
    "effective_rank",
    "condition_lower_entropy",
    "condition_lower_ritz",
    "condition_damped",
)  # of the spectrum


def measure_names() -> tuple[str, ...]:
    """Return the names of all measures, in table order."""
    return (*_NAMES, *GRADIENT_MEASURES)


def spoiled_by_noise(block: BlockSpectrum) -> bool:
    """Whether the products of a block were too noisy for entropies, `abs_trace` and ratios."""
    return block.noise > NOISE_LIMIT


def compute_measures(
    block: BlockSpectrum, *, alpha: float = 1.0, tau_rel: float | None = None
) -> dict[str, Estimate]:
    """Compute every measure of a block from its stored coefficients, without a product.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled.
    alpha : float
        Rényi order of `entropy`, `entropy_gap` and `effective_rank`; the certified condition number always uses
        order 1.
    tau_rel : float, optional
        Threshold of the ratios (and of damping and the entropy of order 0) relative to max abs(λ).

    Returns
    -------
    dict of str to Estimate
        By name, in table order, with a population value where the block keeps groups of the data.  A measure the
        products' noise spoils is unknown, with the reason.  Those of the gradient come last; they need no product.
    """
    # Noise averages out of the trace and hardly moves the largest eigenvalue.
    own = {"trace": trace(block), "lambda_max": lambda_max(block)}
    if spoiled_by_noise(block):
        reason = f"the products' relative noise {block.noise:.1e} exceeds {NOISE_LIMIT:.0e}; use --dtype float64"
        own |= {name: Estimate.unknown(reason) for name in _NAMES if name not in own}
    else:
        gap = entropy_gap(block, alpha, tau_rel)
        own |= ratios(block, tau_rel) | {
            "abs_trace": abs_trace(block),
            "lambda_min": lambda_min(block),
            "entropy": entropy_from_gap(gap, block.size),
            "entropy_gap": gap,
            "effective_rank": rank_from_gap(gap, block.size),
            "condition_lower_entropy": condition_from_gap(gap if alpha == 1.0 else entropy_gap(block), block.size),
            "condition_lower_ritz": condition_lower_ritz(block),
            "condition_damped": condition_damped(block, tau_rel),
        }
    own = {name: own[name] for name in _NAMES}
    found = with_population(block, own, alpha=alpha, tau_rel=tau_rel)
    return (as_drawn(found) if is_drawn(block) else found) | gradient_measures(block)
