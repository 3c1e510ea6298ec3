"""What stands below the numbers of one step, for people: JSON has it all.

The decrease by eigendirection; the loss at other step sizes; table 1 of the unified view; what each step was taken
from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hessent.measures.step_analysis import StepDirection, StepRow
from hessent.measures.step_classification import CLASSIFICATION
from hessent.report.numbers import format_number
from hessent.report.tables import Cell, Column, Table

_ROUNDING = 1e-12  # of the largest number of a line: what is left of a difference that is zero


def directions_table(directions: Sequence[StepDirection], rows: Sequence[StepRow]) -> Table:
    """Return D by optimizer and eigendirection."""
    last = len(directions) - 1
    columns = [Column("optimizer", "optimizer", "text")]
    for place, direction in enumerate(directions):
        title = "the rest" if direction.eigenvalue is None else f"λ {format_number(direction.eigenvalue, 3)}"
        first = 0 if place == last else place + 1  # the last directions go first, but for the rest
        columns.append(Column(f"direction_{place}", title, "number", priority=first))
    body: list[tuple[Cell, ...]] = [("share of ‖g‖²", *(direction.gradient_share for direction in directions))]
    body += [(row.optimizer, *(own.decrease.get(row.optimizer) for own in directions)) for row in rows]
    return Table(
        columns=tuple(columns),
        rows=tuple(body),
        title="Where it comes from: D along each eigendirection of the Hessian, at the step size above",
        notes=("Each line adds up to D. the rest: all other directions together, by subtraction. --json has all.",),
        audience="people",
    )


def measured_table(rows: Sequence[StepRow]) -> Table:
    """Return predicted and measured decrease at several step sizes."""
    factors: list[float] = []
    for row in rows:
        factors += [own.learning_rate / (row.learning_rate or 1.0) for own in row.measured]
    shown = sorted({round(factor, 6) for factor in factors})
    body = []
    for row in rows:
        held = {round(own.learning_rate / (row.learning_rate or 1.0), 6): own for own in row.measured}
        scale = max((abs(own.predicted) for own in row.measured), default=0.0)
        predicted = (_rounded(held[factor].predicted, scale) if factor in held else None for factor in shown)
        measured = (held[factor].decrease if factor in held else None for factor in shown)
        body += [(row.optimizer, "predicted", *predicted), ("", "measured", *measured)]
    return Table(
        columns=(
            Column("optimizer", "optimizer", "text"),
            Column("what", "", "text"),
            *(Column(f"at_{factor:g}", f"{factor:g} × size", "number") for factor in shown),
        ),
        rows=tuple(body),
        title="How far the quadratic model reaches: what the loss falls by at multiples of the step size above",
        audience="people",
    )


def classes_table(rows: Sequence[StepRow]) -> Table:
    """Return table 1 of the unified view."""
    body = []
    for row in rows:
        own = CLASSIFICATION[row.optimizer]
        body.append((row.optimizer, own.length_limit, own.calculating, own.structure, own.iterative))
    return Table(
        columns=(
            Column("optimizer", "optimizer", "text"),
            Column("length_limit", "length limit", "text", priority=1),
            Column("calculating", "calculating", "text", priority=2),
            Column("structure", "structure", "prose"),
            Column("iterative", "iterative", "prose"),
        ),
        rows=tuple(body),
        title="How each approximates the curvature (table 1 of the unified view)",
        notes=(
            "H' is the optimizer's own approximation of the Hessian; F the Fisher matrix, F̃ the empirical one. An "
            "empty cell is exact in that respect.",
        ),
        audience="people",
    )


def origins_table(rows: Sequence[StepRow], checkpoint: str) -> Table:
    """Return where step sizes and states are from; files beside the checkpoint without their folder."""
    folder = os.path.join(os.path.dirname(checkpoint), "")
    body = []
    for row in rows:
        told = row.told.replace(folder, "") if folder else row.told
        body.append((row.optimizer, row.learning_rate_from, row.source, told))
    return Table(
        columns=(
            Column("optimizer", "optimizer", "text"),
            Column("learning_rate_from", "size from", "text", priority=1),
            Column("source", "state from", "text", priority=2),
            Column("told", "the step", "prose"),
        ),
        rows=tuple(body),
        title="What each step was taken from",
        notes=(
            "size from: given (--lr), training (the rate of its next step), best (of the largest D along the "
            "step), default. state from: the optimizer's state with the checkpoint, or rebuilt.",
        ),
        audience="people",
    )


def _rounded(number: float, scale: float) -> float:
    return 0.0 if abs(number) <= _ROUNDING * scale else number
