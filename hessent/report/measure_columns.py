"""The column of each measure: its title, what its cells show, and how soon it goes where the terminal is narrow."""

from __future__ import annotations

from collections.abc import Mapping

from hessent.report.tables import CellKind, Column

# Title, kind, and how soon the column goes on a narrow terminal (a high number goes first).
_COLUMNS: Mapping[str, tuple[str, CellKind, int]] = {
    "trace": ("trace", "estimate", 1),
    "abs_trace": ("abs. trace", "estimate", 5),
    "lambda_max": ("λ_max", "estimate", 3),
    "lambda_min": ("λ_min", "estimate", 8),
    "positive_ratio": ("λ > τ", "bracket", 4),
    "negative_ratio": ("λ < −τ", "bracket", 7),
    "zero_ratio": ("|λ| ≤ τ", "bracket", 7),
    "entropy": ("entropy", "estimate", 6),
    "entropy_gap": ("gap", "estimate", 2),
    "effective_rank": ("eff. rank", "estimate", 6),
    "condition_lower_entropy": ("κ ≥", "lower-bound", 6),
    "condition_lower_ritz": ("κ ≥ (Ritz)", "lower-bound", 7),
    "condition_damped": ("κ damped", "estimate", 7),
    "gradient_entropy": ("H(g)", "estimate", 7),
    "gradient_gap": ("gap(g)", "estimate", 6),
    "batch_gradient_entropy": ("H(g) of batches", "estimate", 8),
    "batch_gradient_gap": ("gap(g) of batches", "estimate", 7),
    "gradient_top_share": ("g in top 10", "bracket", 6),
    "gradient_negative_share": ("g along λ < 0", "bracket", 7),
}
_OF_ORDER_ALPHA = ("entropy", "entropy_gap", "effective_rank")


def measures_with_columns() -> tuple[str, ...]:
    """Return the names of all measures, without loading what computes them (and NumPy with it)."""
    return tuple(_COLUMNS)


def measure_column(name: str, alpha: float) -> Column:
    """Return the column of a measure at Rényi order `alpha`, keyed by the measure's name."""
    title, kind, priority = _COLUMNS[name]
    if name in _OF_ORDER_ALPHA and alpha != 1.0:
        title += f" α={alpha:g}".replace("inf", "∞")
    return Column(name, title, kind, priority=priority)
