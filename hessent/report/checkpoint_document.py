"""The checkpoint in a JSON document: which weights the numbers are of."""

from __future__ import annotations

from typing import Any

from hessent.spectra.provenance import CheckpointInfo


def checkpoint_document(checkpoint: CheckpointInfo) -> dict[str, Any]:
    """Return the object ``checkpoint`` of a document."""
    return {
        "path": checkpoint.path,
        "sha256": checkpoint.sha256,
        "step": checkpoint.step,
        "progress": checkpoint.progress,
        "arch": checkpoint.arch,
    }
