"""`--normalization diagonal`: the problem seen through the diagonal of its own matrix, and what to say of it."""

from __future__ import annotations

from dataclasses import replace

from hessent.curvature.diagonal import UnitDiagonal, unit_diagonal
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared


def with_unit_diagonal(prepared: Prepared, observer: Observer) -> Prepared:
    """Find the diagonal and return the problem in which it is 1.

    Parameters
    ----------
    prepared : Prepared
        Of a matrix with a positive diagonal.
    observer : Observer
        Told what was found.

    Raises
    ------
    HessentError
        If the diagonal cannot be had.
    """
    observer.started("diagonal", 0)
    metric = unit_diagonal(prepared.problem, seed=prepared.seed)
    for note in _notes(metric):
        observer.noted(note)
    return replace(prepared, problem=prepared.problem.with_metric(metric))


def _notes(metric: UnitDiagonal) -> list[str]:
    found = []
    if metric.draws:
        found.append(
            f"the diagonal is an estimate, from {metric.draws} random vectors per sample: "
            f"its relative standard error is {100 * metric.error:.2g} %"
        )
    if metric.dead:
        total = sum(metric.dead.values())
        found.append(f"{total:,} parameters do nothing to the outputs: their rows stay zero, and they count in n")
    return found
