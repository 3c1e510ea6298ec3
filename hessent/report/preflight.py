"""What a run would do, as data, table and JSON (`hessent.preflight/1`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hessent.report.checkpoint_document import checkpoint_document
from hessent.report.tables import Column, Table
from hessent.spectra.provenance import CheckpointInfo, DataInfo

SCHEMA = "hessent.preflight/1"


@dataclass(frozen=True)
class PlannedBlock:
    """One block: its size n, how it would be treated, and what that takes.

    Attributes
    ----------
    name, method : str
    size, matvecs : int
        Parameters, and products expected.
    basis_bytes : int
        Bytes of the vectors (or of the matrix) kept for it in memory.
    group_bytes : int
        Bytes of the data groups' parts of its products, those of one pass.
    host_bytes, file_bytes : int
        Bytes of its further vectors, in host memory beside a GPU and in a file.
    """

    name: str
    size: int
    method: str
    matvecs: int
    basis_bytes: int
    group_bytes: int
    host_bytes: int = 0
    file_bytes: int = 0


@dataclass(frozen=True)
class ExpectedMemory:
    """Bytes expected at the peak, where products are computed and beyond.

    Attributes
    ----------
    graphs, basis, groups, steps : int
        For gradient graphs, for vectors and matrices that are kept, for the data groups' parts of products, and for
        what steps take beside them while they last.
    host, file : int
        Further vectors in host memory beside a GPU, and in a file.
    folder : str or None
        Where that file is made.
    journal : int
        On the disk, beside the result: what an interrupted run goes on from.
    """

    graphs: int
    basis: int
    groups: int
    steps: int = 0
    host: int = 0
    file: int = 0
    folder: str | None = None
    journal: int = 0

    @property
    def total(self) -> int:
        """All that counts against the memory allowed."""
        return self.graphs + self.basis + self.groups + self.steps


@dataclass(frozen=True)
class Preflight:
    """The plan of a run.

    Attributes
    ----------
    checkpoint, data
        What would be measured.
    loss, curvature, output, device, dtype, engine, engine_why : str
    num_params, batch_size : int
    blocks : tuple of PlannedBlock
    seconds : float
        Time expected for all products, from one timed product per block.
    data_groups : int
        Groups of the data from which its error would be told; 0 where it would not.
    memory_expected : ExpectedMemory
    memory_available : int
        Bytes for gradient graphs and vectors.
    problems, notes : tuple of str
        What stands in the way; what was assumed.
    """

    checkpoint: CheckpointInfo
    data: DataInfo
    loss: str
    curvature: str
    output: str
    num_params: int
    batch_size: int
    device: str
    dtype: str
    engine: str
    engine_why: str
    blocks: tuple[PlannedBlock, ...]
    seconds: float
    data_groups: int
    memory_expected: ExpectedMemory
    memory_available: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def matvecs(self) -> int:
        """Products expected in all."""
        return sum(block.matvecs for block in self.blocks)


def preflight_table(plan: Preflight) -> Table:
    """Return one row per block; the plan's facts stand above."""
    nbytes = size_text(plan.memory_expected.total)
    facts = [
        ("checkpoint", f"{plan.checkpoint.path} · {plan.checkpoint.arch} · {plan.num_params:,} parameters"),
        ("data", f"{plan.data.name} · {plan.data.samples:,} of {plan.data.available:,} samples · {plan.loss}"),
        ("curvature", plan.curvature),
        ("machine", f"{plan.device} · {plan.dtype} · engine {plan.engine} · micro-batch {plan.batch_size:,}"),
        ("engine", plan.engine_why),
        ("expected", f"{plan.matvecs:,} products · about {_duration(plan.seconds)} · {nbytes}"),
        ("memory", _parts(plan)),
        ("allowed", f"{size_text(plan.memory_available)} for gradient graphs and vectors"),
        ("output", plan.output),
        ("on disk", f"up to {size_text(plan.memory_expected.journal)} in {plan.output}.partial, while it runs"),
    ]
    facts += [("in the way", problem) for problem in plan.problems]
    return Table(
        columns=(
            Column("block", "block", "name"),
            Column("size", "size", "count"),
            Column("method", "how", "text"),
            Column("matvecs", "products", "count"),
            Column("basis", "vectors", audience="people"),
            Column("basis_bytes", "vectors", "count", audience="programs"),
            Column("groups", "data groups", audience="people"),
            Column("group_bytes", "data groups", "count", audience="programs"),
            Column("host_bytes", "in host memory", "count", audience="programs"),
            Column("file_bytes", "in a file", "count", audience="programs"),
        ),
        rows=tuple(_row(block) for block in plan.blocks),
        facts=tuple(facts),
        notes=("nothing was measured; without --dry-run this is what would be done (sampled blocks: at first)",),
    )


def _row(block: PlannedBlock) -> tuple[str | int, ...]:
    vectors = size_text(block.basis_bytes)
    if block.host_bytes > 0:
        vectors += f" + {size_text(block.host_bytes)} in host memory"
    if block.file_bytes > 0:
        vectors += f" + {size_text(block.file_bytes)} in a file"
    sizes = vectors, block.basis_bytes, size_text(block.group_bytes), block.group_bytes
    return (
        block.name,
        block.size,
        block.method,
        block.matvecs,
        *sizes,
        block.host_bytes,
        block.file_bytes,
    )


def _parts(plan: Preflight) -> str:
    expected = plan.memory_expected
    parts = f"{size_text(expected.graphs)} for gradient graphs · {size_text(expected.basis)} for vectors"
    if expected.steps > 0:
        parts += f" · {size_text(expected.steps)} for steps"
    if plan.data_groups > 0:
        parts += f" · {size_text(expected.groups)} for products by {plan.data_groups} data groups"
    if expected.host > 0:
        parts += f" · {size_text(expected.host)} of further vectors in host memory"
    if expected.file > 0:
        parts += f" · {size_text(expected.file)} of further vectors in a file in {expected.folder}"
    return parts


def preflight_document(plan: Preflight) -> dict[str, Any]:
    """Return the JSON document of a plan."""
    synthetic = {"synthetic": True} if plan.data.synthetic else {}
    return {
        "schema": SCHEMA,
        "checkpoint": checkpoint_document(plan.checkpoint),
        "data": {
            "name": plan.data.name,
            "samples": plan.data.samples,
            "sha256": plan.data.sha256,
            **synthetic,
        },
        "loss": plan.loss,
        "curvature": plan.curvature,
        "output": plan.output,
        "num_params": plan.num_params,
        "batch_size": plan.batch_size,
        "device": plan.device,
        "dtype": plan.dtype,
        "engine": plan.engine,
        "engine_why": plan.engine_why,
        "blocks": [
            {
                "name": block.name,
                "size": block.size,
                "method": block.method,
                "matvecs": block.matvecs,
                "basis_bytes": block.basis_bytes,
                "group_bytes": block.group_bytes,
                "host_bytes": block.host_bytes,
                "file_bytes": block.file_bytes,
            }
            for block in plan.blocks
        ],
        "matvecs": plan.matvecs,
        "seconds": plan.seconds,
        "data_groups": plan.data_groups or None,
        "memory": {
            "expected": plan.memory_expected.total,
            "graphs": plan.memory_expected.graphs,
            "basis": plan.memory_expected.basis,
            "groups": plan.memory_expected.groups,
            "steps": plan.memory_expected.steps,
            "available": plan.memory_available,
            "host": plan.memory_expected.host,
            "file": plan.memory_expected.file,
            "journal": plan.memory_expected.journal,
            "folder": plan.memory_expected.folder,
        },
        "problems": list(plan.problems),
        "notes": list(plan.notes),
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size_text(nbytes: int) -> str:
    """Return bytes as people read them."""
    if nbytes == 0:
        return "–"
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{max(nbytes / 2**20, 1):.0f} MiB"
