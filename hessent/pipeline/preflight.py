"""What a run would do, before it spends anything: blocks, products, memory and time.

The time is measured, not guessed: one product with every block, times the products planned.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence

import torch

from hessent.curvature.blocks import Block
from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK
from hessent.eigensolver.dense import COLUMNS_AT_ONCE
from hessent.eigensolver.settings import joint_probes
from hessent.errors import UsageError
from hessent.pipeline.measure import Measurement
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.request import DIAGONAL, KFAC, SpectrumRequest
from hessent.pipeline.residual_split import split_matvecs
from hessent.pipeline.spectrum_run import measurement_for
from hessent.pipeline.vector_places import PlannedVectors, bytes_of_all_steps
from hessent.report.preflight import ExpectedMemory, PlannedBlock, Preflight, size_text


def preflight(request: SpectrumRequest, observer: Observer) -> Preflight:
    """Prepare a measurement, time one product per block, and return the plan.

    Parameters
    ----------
    request : SpectrumRequest
        What is asked.
    observer : Observer
        Told of notes.

    Returns
    -------
    Preflight

    Raises
    ------
    HessentError
        Whatever preparation raises: these are the things that will not work.
    """
    if request.curvature == KFAC:
        raise UsageError(
            "--dry-run plans products, and K-FAC takes none",
            where="--curvature kfac",
            fix="run it: it takes seconds to a minute on a small net; --samples 256 to try",
        )
    prepared = prepare(request)
    for note in prepared.notes:
        observer.noted(note)
    measurement = measurement_for(request, prepared)
    measurement.engine.notify = observer.noted
    notes = prepared.notes
    if measurement.engine.division.note is not None:
        observer.noted(measurement.engine.division.note)
        notes = (*notes, measurement.engine.division.note)
    if measurement.split_probes is not None:
        took = sum(_split_matvecs(measurement, block) for block in measurement.blocks)
        notes = (*notes, f"{took:,} of the products are for --split, with the Hessian and its Gauss-Newton part")
    if request.normalization == DIAGONAL:
        notes = (*notes, "the diagonal comes first: a backward pass per sample and output, or up to 16,384 in all")
    measurement.choose_engine()
    blocks = tuple(_planned(measurement, block) for block in measurement.blocks)
    seconds = sum(
        planned.matvecs * _seconds(measurement, b) for planned, b in zip(blocks, measurement.blocks, strict=True)
    )
    memory = _memory(measurement, prepared, blocks)
    return Preflight(
        checkpoint=prepared.checkpoint,
        data=prepared.data,
        loss=prepared.problem.loss.name,
        curvature=prepared.problem.curvature.name,
        output=str(request.output),
        num_params=prepared.problem.num_params,
        batch_size=prepared.stream.batch_size,
        device=prepared.problem.device.type,
        dtype=str(prepared.problem.dtype).removeprefix("torch."),
        engine=measurement.engine.engine,
        engine_why=measurement.engine.why,
        blocks=blocks,
        seconds=seconds,
        data_groups=0 if measurement.engine.group_items is None else len(measurement.engine.group_items),
        memory_expected=memory,
        memory_available=prepared.memory,
        problems=_problems(request, prepared, memory),
        notes=notes,
    )


def _planned(measurement: Measurement, block: Block) -> PlannedBlock:
    """How one block would be treated: method, products, bytes of its vectors and of the groups of a product."""
    solver = measurement.solver_for(block)
    method = "exact" if solver.exact else "hutch++" if measurement.settings.only_trace else "lanczos"
    matvecs = solver.planned_matvecs() + PRODUCTS_PER_BLOCK + _split_matvecs(measurement, block)
    items = measurement.engine.group_items
    groups = 0 if items is None else len(items)
    itemsize = torch.finfo(measurement.problem.dtype).bits // 8
    if measurement.solvers.direct.takes(block):
        columns, groups = 0, 0
        vectors = PlannedVectors(measurement.solvers.direct.matrix_bytes(block), 0, 0)
    elif solver.exact:
        columns = min(COLUMNS_AT_ONCE, block.size)
        room = measurement.solvers.settings_for(block).basis_memory
        vectors = PlannedVectors(_matrix_bytes(block.size, groups, room), 0, 0)
    else:
        columns = joint_probes(measurement.settings, block.size, PRODUCTS_PER_BLOCK)
        vectors = measurement.solvers.planned_vectors(block)
    return PlannedBlock(
        block.name,
        block.size,
        method,
        matvecs,
        basis_bytes=vectors.memory,
        group_bytes=groups * block.size * columns * itemsize,
        host_bytes=vectors.host,
        file_bytes=vectors.file,
    )


def _split_matvecs(measurement: Measurement, block: Block) -> int:
    """Products for the split of one block; 0 where none is asked for."""
    probes = measurement.split_probes
    return 0 if probes is None else split_matvecs(block.size, probes)


def _matrix_bytes(size: int, groups: int, room: int) -> int:
    """Bytes of a matrix, its symmetric part and the eigensolver's copy, and of the groups' where they fit."""
    alone, with_groups = 24 * size**2, (24 + 8 * groups) * size**2
    return with_groups if with_groups <= room else alone


def _seconds(measurement: Measurement, block: Block) -> float:
    """Time of one product with a block, measured."""
    v = torch.ones(block.size, 1, dtype=measurement.problem.dtype, device=measurement.problem.device)
    measurement.engine.products([(block, v)])  # the first product pays for graphs and allocation
    start = time.perf_counter()
    product = measurement.engine.products([(block, v)])[0].total
    float(product[0, 0])  # waits for a device that works asynchronously
    return time.perf_counter() - start


def _memory(measurement: Measurement, prepared: Prepared, blocks: Sequence[PlannedBlock]) -> ExpectedMemory:
    """Bytes at the peak: sampled blocks keep their vectors side by side, matrices and products come one at a time.

    Of steps there are two at a time: what a block does between products goes on while the next one is multiplied.
    Where graphs are rebuilt on every pass, all blocks advance together: matrices, products and steps.
    """
    at_once = max if measurement.engine.keeps_graphs else sum
    matrices = [block.basis_bytes for block in blocks if block.method == "exact"]
    sampled = [block for block in blocks if block.method != "exact"]
    in_file = sum(block.file_bytes for block in blocks)
    return ExpectedMemory(
        graphs=_graph_bytes(measurement, prepared),
        basis=sum(block.basis_bytes for block in sampled) + at_once([0, *matrices]),
        steps=bytes_of_all_steps(
            measurement.settings, [block.size for block in sampled], one_by_one=measurement.engine.keeps_graphs
        ),
        groups=at_once([0, *(block.group_bytes for block in blocks)]),
        host=sum(block.host_bytes for block in blocks),
        file=in_file,
        folder=measurement.settings.overflow.folder if in_file > 0 else None,
        journal=sum(block.basis_bytes + block.host_bytes + block.file_bytes for block in sampled)
        + at_once([0, *(_column_bytes(measurement, block.size) for block in blocks if block.method == "exact")]),
    )


def _column_bytes(measurement: Measurement, size: int) -> int:
    """Bytes of the columns of a block formed whole, and of its data groups' ones."""
    items = measurement.engine.group_items
    groups = 0 if items is None else len(items)
    return size**2 * (8 + groups * measurement.problem.dtype.itemsize)


def _graph_bytes(measurement: Measurement, prepared: Prepared) -> int:
    """Bytes of the gradient graphs held at once, and of one second backward pass."""
    total = measurement.engine.graph_bytes
    one = total * min(prepared.stream.batch_size, prepared.stream.num_samples) // prepared.stream.num_samples
    return (total if measurement.engine.keeps_graphs else one) + one


def _problems(request: SpectrumRequest, prepared: Prepared, memory: ExpectedMemory) -> tuple[str, ...]:
    found: list[str] = []
    if memory.total > prepared.memory:
        found.append(
            f"about {memory.total / 2**20:,.0f} MiB are expected, {prepared.memory / 2**20:,.0f} MiB are allowed; "
            "a larger --memory, a smaller --batch-size, --no-full or --no-data-error"
        )
    if prepared.data.synthetic:
        found.append("the data is synthetic: the numbers will say nothing about the trained model")
    folder = request.output.parent
    if folder.is_dir() and memory.journal + memory.file > shutil.disk_usage(folder).free:
        found.append(
            f"{size_text(memory.journal + memory.file)} are expected on the disk of '{folder}', which has "
            f"{size_text(shutil.disk_usage(folder).free)} free; -o FILE.spectrum.h5 on a larger one"
        )
    if not os.access(folder, os.W_OK):
        found.append(f"'{folder}' does not exist or is not writable; -o FILE.spectrum.h5 puts the result elsewhere")
    return tuple(found)
