"""The analysis of one step as the document ``hessent.step/1``."""

from __future__ import annotations

from typing import Any

from hessent.measures.step_analysis import StepAnalysis, StepRow
from hessent.measures.step_classification import CLASSIFICATION
from hessent.report.checkpoint_document import checkpoint_document
from hessent.report.step_order import sorted_rows

SCHEMA = "hessent.step/1"


def step_document(found: StepAnalysis, sort: str) -> dict[str, Any]:
    """Return the document; its rows in the order of the table.

    Parameters
    ----------
    found : StepAnalysis
        The numbers.
    sort : str
        The order, of `hessent.report.step_order.SORTS`.
    """
    checkpoint, data = found.checkpoint, found.data
    return {
        "schema": SCHEMA,
        "checkpoint": checkpoint_document(checkpoint),
        "data": {"name": data.name, "samples": data.samples, "sha256": data.sha256, "synthetic": data.synthetic},
        "loss": {"name": found.loss, "value": found.loss_value},
        "seed": found.seed,
        "parameters": found.parameters,
        "gradient_norm": found.gradient_norm,
        "lambda_max": found.lambda_max.to_json(),
        "curvature_along_gradient": found.curvature_along_gradient,
        "negative_share": found.negative_share.to_json(),
        "damping": found.damping,
        "noise_scale": found.noise_scale.to_json(),
        "noise_batches": found.noise_batches,
        "batch_size": found.batch_size,
        "curvature": found.curvature,
        "matvecs": found.matvecs,
        "rows": [_row(row) for row in sorted_rows(found.rows, sort)],
        "directions": [
            {
                "eigenvalue": direction.eigenvalue,
                "gradient_share": direction.gradient_share,
                "decrease": dict(direction.decrease),
            }
            for direction in found.directions
        ],
        "cautions": list(found.cautions),
    }


def _row(row: StepRow) -> dict[str, Any]:
    approximation = CLASSIFICATION[row.optimizer]
    return {
        "optimizer": row.optimizer,
        "source": row.source,
        "description": row.told,
        "clip": row.clip,
        "learning_rate": row.learning_rate,
        "learning_rate_from": row.learning_rate_from,
        "decrease": row.decrease.to_json(),
        "norm_h_squared": row.norm_h_squared.to_json(),
        "best_learning_rate": row.best_learning_rate.to_json(),
        "best_decrease": row.best_decrease.to_json(),
        "stability_limit": row.stability_limit.to_json(),
        "noise": row.noise.to_json(),
        "measured_decrease": row.measured_decrease,
        "measured": [
            {"learning_rate": own.learning_rate, "predicted": own.predicted, "decrease": own.decrease}
            for own in row.measured
        ],
        "length_limit": approximation.length_limit,
        "calculating": approximation.calculating,
        "structure": approximation.structure,
        "iterative": approximation.iterative,
    }
