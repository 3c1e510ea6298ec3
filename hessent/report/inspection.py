"""What is in a checkpoint: its tensors, what it says about itself, and which architectures fit it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hessent.report.settings import shown_settings
from hessent.report.tables import Column, Table

if TYPE_CHECKING:
    from hessent.arch.architecture import Fit
    from hessent.checkpoint.reader import Checkpoint

SCHEMA = "hessent.inspect/1"
_SHOWN_MISSES = 3


def inspection_table(checkpoint: Checkpoint, fits: Sequence[Fit], optimizer_state: str | None) -> Table:
    """Return one row per tensor; what the checkpoint says about itself, and what fits it, stand above.

    Parameters
    ----------
    checkpoint : Checkpoint
        Opened, its numbers not read.
    fits : sequence of Fit
        How each built-in architecture fits, best first.
    optimizer_state : str or None
        File of the optimizer's state.
    """
    metadata = checkpoint.metadata
    facts = [
        ("checkpoint", f"{checkpoint.path} · {checkpoint.format}"),
        (
            "tensors",
            f"{len(checkpoint.tensors):,} · {_num_params(checkpoint):,} numbers · {checkpoint.stored_dtype}",
        ),
        ("training", " · ".join(_training(checkpoint)) or "it does not say"),
        ("optimizer", _optimizer(checkpoint, optimizer_state)),
    ]
    settings = {"arch": metadata.arch, "data": metadata.data, "loss": metadata.loss, "samples": metadata.samples}
    said = [f"{name} {value}" for name, value in settings.items() if value is not None]
    if said:
        facts.append(("names", " · ".join(said)))
    facts += [("fits", f"{fit.name} · {shown_settings(fit.options)}") for fit in fits if fit.fits]
    if not any(fit.fits for fit in fits):
        misses = [f"{fit.name}: {fit.problems[0]}" for fit in fits if fit.problems]
        facts += [("fits", "no built-in architecture")]
        facts += [("near miss", miss) for miss in misses[:_SHOWN_MISSES]]
    facts += [("note", note) for note in checkpoint.notes]
    return Table(
        columns=(
            Column("name", "tensor", "name"),
            Column("shape", "shape"),
            Column("dtype", "type"),
            Column("size", "numbers", "count"),
        ),
        rows=tuple(
            (name, " × ".join(str(side) for side in info.shape) or "scalar", info.dtype, math.prod(info.shape))
            for name, info in checkpoint.tensors.items()
        ),
        facts=tuple(facts),
    )


def inspection_document(checkpoint: Checkpoint, fits: Sequence[Fit], optimizer_state: str | None) -> dict[str, Any]:
    """Return the JSON document `hessent.inspect/1`."""
    metadata = checkpoint.metadata
    optimizer = {**metadata.optimizer, "state_file": optimizer_state}
    return {
        "schema": SCHEMA,
        "path": checkpoint.path,
        "format": checkpoint.format,
        "tensors": [
            {"name": name, "shape": list(info.shape), "dtype": info.dtype}
            for name, info in checkpoint.tensors.items()
        ],
        "num_params": _num_params(checkpoint),
        "dtype": checkpoint.stored_dtype,
        "step": metadata.step,
        "progress": metadata.progress,
        "optimizer": optimizer if metadata.optimizer or optimizer_state else None,
        "metadata": {
            "arch": metadata.arch,
            "arch_options": dict(metadata.arch_options),
            "data": metadata.data,
            "loss": metadata.loss,
            "samples": metadata.samples,
            "total_steps": metadata.total_steps,
            "metrics": dict(metadata.metrics),
            "seed": metadata.seed,
            "extra": dict(metadata.extra),
        },
        "notes": list(checkpoint.notes),
        "architectures": [
            {"name": fit.name, "options": dict(fit.options), "fits": fit.fits, "problems": list(fit.problems)}
            for fit in fits
        ],
    }


def _num_params(checkpoint: Checkpoint) -> int:
    """Entries of the floating-point tensors: parameters, and buffers that are stored like them."""
    return sum(math.prod(info.shape) for info in checkpoint.tensors.values() if info.dtype.startswith(("F", "BF")))


def _training(checkpoint: Checkpoint) -> list[str]:
    metadata = checkpoint.metadata
    parts = []
    if metadata.step is not None:
        total = "" if metadata.total_steps is None else f" of {metadata.total_steps:,}"
        parts.append(f"step {metadata.step:,}{total}")
    return parts + [f"{name} {value:.4g}" for name, value in metadata.metrics.items()]


def _optimizer(checkpoint: Checkpoint, state: str | None) -> str:
    settings = dict(checkpoint.metadata.optimizer)
    name = str(settings.pop("name", "it does not say which"))
    kept = "no state beside it" if state is None else f"state in {state}"
    return " · ".join(part for part in (name, shown_settings(settings), kept) if part)
