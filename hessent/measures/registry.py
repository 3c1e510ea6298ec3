"""All measures of a block by name, in the order in which tables and JSON show them."""

from __future__ import annotations

from collections.abc import Callable

from hessent.estimate import Estimate
from hessent.measures.budget import error_budget
from hessent.measures.condition import condition_damped, condition_lower_entropy, condition_lower_ritz
from hessent.measures.entropy import effective_rank, entropy, entropy_gap
from hessent.measures.population import with_population
from hessent.measures.ratios import ratios, tau
from hessent.measures.trace import abs_trace, lambda_max, lambda_min, negative_mass, trace
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
)
# What survives noisy products: noise averages out of the trace and hardly moves the largest eigenvalue.
_ROBUST = frozenset({"trace", "lambda_max"})


def measure_names() -> tuple[str, ...]:
    """Return the names of all measures, in table order."""
    return _NAMES


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
        products' noise spoils is unknown, with the reason.
    """
    three = ratios(block, tau_rel)
    functions: dict[str, Callable[[], Estimate]] = {
        "trace": lambda: trace(block),
        "abs_trace": lambda: abs_trace(block),
        "lambda_max": lambda: lambda_max(block),
        "lambda_min": lambda: lambda_min(block),
        **{name: lambda name=name: three[name] for name in three},  # type: ignore[misc]
        "entropy": lambda: entropy(block, alpha, tau_rel),
        "entropy_gap": lambda: entropy_gap(block, alpha, tau_rel),
        "effective_rank": lambda: effective_rank(block, alpha, tau_rel),
        "condition_lower_entropy": lambda: condition_lower_entropy(block),
        "condition_lower_ritz": lambda: condition_lower_ritz(block),
        "condition_damped": lambda: condition_damped(block, tau_rel),
    }
    noisy = Estimate.unknown(
        f"the products' relative noise {block.noise:.1e} exceeds {NOISE_LIMIT:.0e}; use --dtype float64"
    )
    spoiled = spoiled_by_noise(block)
    own = {name: noisy if spoiled and name not in _ROBUST else functions[name]() for name in _NAMES}
    return with_population(block, own, alpha=alpha, tau_rel=tau_rel)
