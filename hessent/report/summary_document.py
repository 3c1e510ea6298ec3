"""The JSON document `hessent.summary/1`: what `spectrum` and `summary` print for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hessent.measures.mini_batches import batch_size_of
from hessent.measures.registry import tau
from hessent.measures.stability import limit_of
from hessent.report.checkpoint_document import checkpoint_document
from hessent.report.selection import MeasuredBlock, Selection, SpectrumEntry, select_blocks
from hessent.report.split_table import split_object

SCHEMA = "hessent.summary/1"


def summary_document(entries: Sequence[SpectrumEntry], selection: Selection) -> dict[str, Any]:
    """Build the document of one or more spectra.

    Parameters
    ----------
    entries : sequence of SpectrumEntry
        What was measured.
    selection : Selection
        Which blocks, in which order, at which Rényi order.  Every block has all measures, whatever is selected.

    Returns
    -------
    dict
        Valid against ``schemas/summary-1.json``.

    Raises
    ------
    UsageError
        If a glob matches no block.
    """
    return {"schema": SCHEMA, "spectra": [_spectrum_object(entry, selection) for entry in entries]}


def _spectrum_object(entry: SpectrumEntry, selection: Selection) -> dict[str, Any]:
    spectrum = entry.spectrum
    checkpoint, data = spectrum.checkpoint, spectrum.data
    document: dict[str, Any] = {
        "file": entry.file,
        "checkpoint": checkpoint_document(checkpoint),
        "data": {"name": data.name, "samples": data.samples, "sha256": data.sha256},
        "curvature": spectrum.curvature,
        "loss": {"name": spectrum.loss.name, "value": _finite(spectrum.loss.value)},
        "seed": spectrum.seed,
        "complete": spectrum.complete,
    }
    if spectrum.preconditioner != "none":
        document["precondition"] = spectrum.preconditioner
    if data.synthetic:
        document["data"]["synthetic"] = True
    if selection.alpha != 1.0:
        document["alpha"] = selection.alpha if math.isfinite(selection.alpha) else "inf"
    chosen = select_blocks(entry, selection)
    limit = limit_of(spectrum)
    if limit is not None:
        document["stability"] = limit.to_json({one.block.name: one.measures["lambda_max"] for one in chosen})
    document["blocks"] = [_block_object(entry, one, selection.alpha) for one in chosen]
    if spectrum.split:
        shown = {block["name"] for block in document["blocks"]}
        document["split"] = [split_object(block) for block in spectrum.split if block.name in shown]
    return document


def _block_object(entry: SpectrumEntry, measured: MeasuredBlock, alpha: float) -> dict[str, Any]:
    block = measured.block
    return {
        "name": block.name,
        "size": block.size,
        "method": block.method,
        "matvecs": block.num_matvecs,
        "converged": block.converged,
        "tau": _finite(tau(block)),
        "noise": _finite(block.noise),
        "multiplicity": block.multiplicity,
        **({} if (batch_size := batch_size_of(block)) is None else {"mini_batch_size": batch_size}),
        "budget": {name: dict(parts) for name, parts in entry.budget_of(block, alpha).items()},
        "measures": {name: estimate.to_json() for name, estimate in measured.measures.items()},
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
