"""The analysis of one step as tables.

Columns of the first
--------------------
optimizer
    Its name.
step size
    a, ε or η of the unified view.
lowers loss by
    D = −(g·d + ½ d·Hd).
measured
    L(θ) − L(θ + d).
best size, best D
    The step size of the largest D along the same direction, and that D.
limit
    The step size beyond which iterating diverges in the quadratic model.
‖d‖²_H
    d·Hd, what the step pays to the curvature.
noise
    ½ E[d_ξ·Hd_ξ], what mini-batches add to the expected loss.

Further tables are in `step_details`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hessent.estimate import Estimate
from hessent.measures.step_analysis import StepAnalysis, StepRow
from hessent.measures.step_classification import CLASSIFICATION
from hessent.report.numbers import format_estimate, format_number
from hessent.report.settings import shown_settings
from hessent.report.step_details import classes_table, directions_table, measured_table, origins_table
from hessent.report.step_order import sorted_rows
from hessent.report.tables import Cell, Column, Flag, Table

_COLUMNS = (
    Column("optimizer", "optimizer", "text"),
    Column("flags", "", "flags"),
    Column("learning_rate", "step size", "number"),
    Column("learning_rate_from", "from", "text", "programs"),
    Column("decrease", "lowers loss by", "estimate"),
    Column("measured_decrease", "measured", "number", priority=1),
    Column("best_learning_rate", "best size", "estimate", priority=4),
    Column("best_decrease", "best D", "estimate", priority=2),
    Column("stability_limit", "limit", "estimate", priority=5),
    Column("norm_h_squared", "‖d‖²_H", "estimate", priority=7),
    Column("noise", "noise", "estimate", priority=6),
    Column("source", "source", "text", "programs"),
    Column("length_limit", "length limit", "text", "programs"),
    Column("calculating", "calculating", "text", "programs"),
    Column("structure", "structure", "text", "programs"),
    Column("iterative", "iterative", "text", "programs"),
)
_FLAGS = (
    Flag("raises", "↑", "raises the loss by the quadratic model"),
    Flag("beyond", "!", "beyond the limit: iterated, this step size diverges in the quadratic model"),
    Flag("drowned", "~", "mini-batch noise adds more to the loss on average than the step takes away"),
    Flag("far", "≠", "measured and predicted differ by more than half: the quadratic model does not reach so far"),
)
_NOTES = (
    "lowers loss by: D = −(g·d + ½ d·Hd), of one step d on these samples, with its 95 % interval (none: exact). "
    "measured: the loss really evaluated after it. best D: along the same direction, at the best size.",
    "limit: largest stable step size, along positive curvature. ‖d‖²_H = d·Hd. noise: what the scatter of the step "
    "over mini-batches adds to the loss on average, ½ E[d_ξ·Hd_ξ], at this step size; that the mean of a sign or a "
    "cut shifts too is not in it.",
)
_FAR = 0.5
_SETTLED = 1e-6
_MOST_NAMED = 3


def step_tables(found: StepAnalysis, sort: str) -> list[Table]:
    """Build the tables; see the module's docstring.

    Parameters
    ----------
    found : StepAnalysis
        The numbers.
    sort : str
        The order, of `hessent.report.step_order.SORTS`.
    """
    rows = sorted_rows(found.rows, sort)
    tables = [_numbers(found, rows)]
    if found.directions:
        tables.append(directions_table(found.directions, rows))
    if any(len(row.measured) > 1 for row in rows):
        tables.append(measured_table(rows))
    return [*tables, classes_table(rows), origins_table(rows, found.checkpoint.path)]


def measured_best(rows: Sequence[StepRow]) -> str:
    """Say after which step the loss is really lowest."""
    best = max(rows, key=lambda row: -math.inf if row.measured_decrease is None else row.measured_decrease)
    if best.measured_decrease is None or best.measured_decrease <= 0.0:
        return "no step lowers the loss"
    return f"{best.optimizer}, by {format_number(best.measured_decrease)}{_at(best)}"


def predicted_best(rows: Sequence[StepRow]) -> str:
    """Say which step lowers the loss most by the quadratic model, and whether that is certain."""
    order = [row for row in sorted_rows(rows, "decrease") if (row.decrease.value or 0.0) > 0.0]
    if not order:
        return "no step lowers the loss"
    first = order[0]
    rivals = [row.optimizer for row in order[1:] if _reaches(row.decrease, first.decrease)]
    text = f"{first.optimizer}, by {_shown(first.decrease)}{_at(first)}"
    if "far" in flags_of(first):
        text += f", beyond the reach of the model: measured {format_number(first.measured_decrease or 0.0)}"
    if not rivals:
        return text
    named = ", ".join(rivals) if len(rivals) <= _MOST_NAMED else f"{len(rivals)} others"
    return f"{text}; not told apart from {named}"


def _at(row: StepRow) -> str:
    return f" at step size {format_number(row.learning_rate or 0.0)}"


def _reaches(other: Estimate, best: Estimate) -> bool:
    high, low = other.high, best.low
    return high is None or low is None or high >= low


def _shown(estimate: Estimate) -> str:
    return format_estimate(settled(estimate)).joined()


def settled(estimate: Estimate) -> Estimate:
    """Return an estimate as it is shown: as exact where its error is below all digits that are."""
    value, half = estimate.value, estimate.half_width
    if value is None or half is None or half > _SETTLED * abs(value):
        return estimate
    return Estimate.exactly(value)


def _numbers(found: StepAnalysis, rows: Sequence[StepRow]) -> Table:
    return Table(
        columns=_COLUMNS,
        rows=tuple(_number_row(row) for row in rows),
        facts=_facts(found),
        notes=(*_NOTES, *(f"Note: {caution}." for caution in found.cautions)),
        flags=_FLAGS,
    )


def _number_row(row: StepRow) -> tuple[Cell, ...]:
    classes = CLASSIFICATION[row.optimizer]
    return (
        row.optimizer if row.clip is None else f"{row.optimizer}, clipped",
        flags_of(row),
        row.learning_rate,
        row.learning_rate_from,
        settled(row.decrease),
        row.measured_decrease,
        settled(row.best_learning_rate),
        settled(row.best_decrease),
        settled(row.stability_limit),
        settled(row.norm_h_squared),
        settled(row.noise),
        row.source,
        classes.length_limit,
        classes.calculating,
        classes.structure,
        classes.iterative,
    )


def flags_of(row: StepRow) -> tuple[str, ...]:
    """Return the marks of a row."""
    flags = []
    predicted, measured, limit = row.decrease.value, row.measured_decrease, row.stability_limit.value
    if predicted is not None and predicted < 0.0:
        flags.append("raises")
    if limit is not None and row.learning_rate is not None and row.learning_rate > limit:
        flags.append("beyond")
    if predicted is not None and predicted > 0.0 and (row.noise.low or 0.0) > predicted:
        flags.append("drowned")
    if predicted is not None and measured is not None and abs(measured - predicted) > _FAR * abs(predicted):
        flags.append("far")
    return tuple(flags)


def _facts(found: StepAnalysis) -> tuple[tuple[str, str], ...]:
    checkpoint, data = found.checkpoint, found.data
    model = [checkpoint.arch, f"{found.parameters:,} parameters"]
    if checkpoint.step is not None:
        total = "" if checkpoint.total_steps is None else f" of {checkpoint.total_steps:,}"
        model.append(f"step {checkpoint.step:,}{total}")
    if checkpoint.optimizer.get("name"):
        model.append(f"trained with {checkpoint.optimizer['name']}")
    if checkpoint.arch_options:
        model.append(shown_settings(checkpoint.arch_options))
    samples = f"{data.name} · {data.samples:,} of {data.available:,} samples · seed {found.seed} · {found.loss}"
    if data.synthetic:
        samples += " · SYNTHETIC: made-up data, so these numbers say nothing about a real task"
    here = [f"L {format_number(found.loss_value)}", f"‖g‖ {format_number(found.gradient_norm)}"]
    here.append(f"λ_max {_shown(found.lambda_max)}")
    here.append(f"g·Hg/‖g‖² {format_number(found.curvature_along_gradient)}")
    return (
        ("checkpoint", checkpoint.path),
        ("model", " · ".join(model)),
        ("data", samples),
        ("loss", " · ".join(here)),
        ("curvature", f"{found.curvature} · damping δ {format_number(found.damping, 3)}"),
        ("noise", _noise(found)),
        ("measured", f"lowers the loss most: {measured_best(found.rows)}"),
        ("predicted", f"lowers the loss most: {predicted_best(found.rows)}"),
    )


def _noise(found: StepAnalysis) -> str:
    if not found.noise_batches:
        return "not measured (--noise-batches 0)"
    scale = _shown(found.noise_scale)
    return f"{found.noise_batches} mini-batches of {found.batch_size}, drawn with replacement · tr Σ/tr H {scale}"
