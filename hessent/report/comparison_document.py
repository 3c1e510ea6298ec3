"""The JSON document ``hessent.compare/1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hessent.measures.registry import measure_names
from hessent.measures.stability import limit_of
from hessent.report.comparison_blocks import heterogeneities
from hessent.report.kfac_quality import kfac_qualities

if TYPE_CHECKING:
    from hessent.report.checks.judged_spectrum import JudgedSpectrum
    from hessent.report.comparison import Comparison, RunDifference

SCHEMA = "hessent.compare/1"


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return the document of a comparison.

    Parameters
    ----------
    comparison : Comparison
        Runs side by side.

    Returns
    -------
    dict
        Valid against ``schemas/compare-1.json``; all measures of the blocks compared.
    """
    document: dict[str, Any] = {"schema": SCHEMA, "runs": []}
    for index, run in enumerate(comparison.runs):
        used = [own for row in comparison.rows if (own := row.checkpoints[index]) is not None]
        checkpoints = [_checkpoint(own, comparison.blocks) for own in used]
        document["runs"].append({"name": run.name, "checkpoints": checkpoints})
    document["differences"] = [
        entry for found in comparison.differences for entry in _differences(found, measure_names())
    ]
    if comparison.by_block:
        document["heterogeneity"] = [
            {
                "run": name,
                "progress": own.progress,
                "blocks": list(distances.names),
                "distances": distances.distances.tolist(),
                "floors": distances.floors.tolist(),
            }
            for name, own, distances in heterogeneities(comparison)
        ]
        qualities = [quality.to_json() for quality in kfac_qualities(comparison)]
        if qualities:
            document["kfac_quality"] = qualities
    document["warnings"] = list(comparison.warnings)
    document["sentence"] = comparison.sentence
    return document


def _checkpoint(own: JudgedSpectrum, blocks: tuple[str, ...]) -> dict[str, Any]:
    metrics = {} if own.spectrum is None else dict(own.spectrum.checkpoint.metrics)
    return {
        "progress": own.progress,
        "step": own.step,
        "file": own.file,
        "metrics": metrics,
        **_stability(own, blocks),
        **_batches(own, blocks),
        "blocks": {
            name: {measure: estimate.to_json() for measure, estimate in own.blocks[name].measures.items()}
            for name in blocks
            if name in own.blocks
        },
    }


def _stability(own: JudgedSpectrum, blocks: tuple[str, ...]) -> dict[str, Any]:
    """The limit of stable steps, and λ_max of each block over it; nothing where the checkpoint does not tell."""
    limit = None if own.spectrum is None else limit_of(own.spectrum)
    if limit is None:
        return {}
    known = {name: own.blocks[name].measures["lambda_max"] for name in blocks if name in own.blocks}
    return {"stability": limit.to_json(known)}


def _batches(own: JudgedSpectrum, blocks: tuple[str, ...]) -> dict[str, Any]:
    """Samples of each mini-batch by block; nothing where that is not known."""
    known = {name: own.blocks[name].batch_size for name in blocks if name in own.blocks}
    sizes = {name: size for name, size in known.items() if size is not None}
    return {"mini_batch_sizes": sizes} if sizes else {}


def _differences(found: RunDifference, measures: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "run": found.run,
            "reference": found.reference,
            "progress": found.row.progress,
            "block": found.block,
            "measure": name,
            **found.measures[name].to_json(),
        }
        for name in measures
    ]
