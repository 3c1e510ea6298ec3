"""A closing sentence that says what the intervals support, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hessent.estimate import Estimate
from hessent.measures.difference import Difference
from hessent.report.numbers import format_estimate

if TYPE_CHECKING:
    from hessent.report.comparison import Comparison, RunDifference

# Differences of lower bounds say nothing about what they bound, so they have no words.
_NOUNS = {
    "entropy_gap": ("gap", " nats"),
    "entropy": ("entropy", " nats"),
    "effective_rank": ("effective rank", ""),
    "trace": ("trace", ""),
    "abs_trace": ("absolute trace", ""),
    "lambda_max": ("largest eigenvalue", ""),
    "lambda_min": ("smallest eigenvalue", ""),
    "positive_ratio": ("share of eigenvalues above τ", ""),
    "negative_ratio": ("share of eigenvalues below −τ", ""),
    "zero_ratio": ("share of eigenvalues near zero", ""),
    "condition_damped": ("damped condition number", ""),
    "gradient_entropy": ("gradient's entropy", " nats"),
    "gradient_gap": ("gradient's gap", " nats"),
    "batch_gradient_entropy": ("entropy of mini-batches' gradients", " nats"),
    "batch_gradient_gap": ("gap of mini-batches' gradients", " nats"),
    "gradient_top_share": ("gradient's share along the ten leading eigenvectors", ""),
    "gradient_negative_share": ("gradient's share along negative curvature", ""),
}


def closing_sentence(comparison: Comparison) -> str:
    """Return what the last row says of the first block, one sentence for each run after the first.

    Parameters
    ----------
    comparison : Comparison
        Runs side by side.
    """
    last = comparison.differences[-1].row
    block = next(found.block for found in comparison.differences if found.row is last)
    said = [
        _sentence(found, comparison.measures)
        for found in comparison.differences
        if found.row is last and found.block == block
    ]
    return " ".join(said)


def _sentence(found: RunDifference, measures: Sequence[str]) -> str:
    moved, alike, same = [], [], []
    for name, (noun, unit) in _NOUNS.items():
        difference = found.measures[name]
        if name not in measures or difference.value is None:
            continue
        if difference.value == difference.low == difference.high == 0.0:
            same.append(noun)
        elif (word := _direction(difference)) is not None:
            size = format_estimate(_magnitude(difference)).joined()
            moved.append(f"the {noun} of {found.run} is {word} by {size}{unit}")
        else:
            alike.append(noun)
    clauses = []
    if moved:
        clauses.append(_listed(moved) + f" than that of {found.reference}")
    if alike:
        clauses.append(f"{_listed([f'the {noun}' for noun in alike])} of the two cannot be told apart")
    if same:
        clauses.append(
            f"{_listed([f'the {noun}' for noun in same])} of {found.run} and {found.reference} are equal"
        )
    place = f"{found.block}, at {found.row.label}" if found.row.label != "—" else found.block
    return f"{place}: " + ("; ".join(clauses) or "no difference is known") + "."


def _direction(difference: Difference) -> str | None:
    """Return "higher" or "lower", if the whole interval is on that side of zero."""
    if difference.low is not None and difference.low > 0.0:
        return "higher"
    return "lower" if difference.high is not None and difference.high < 0.0 else None


def _magnitude(difference: Difference) -> Estimate:
    """Return the absolute value of a difference of which the sign is known."""
    found = replace(difference.estimate, population=None)
    if found.value is None or found.value >= 0.0:
        return found
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return Estimate(-found.value, low, high, found.exact)


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]
