"""What a run would do, before it spends anything: blocks, products, memory and time.

The time is measured, not guessed: one product with every block, times the products planned.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from hessent.curvature.blocks import Block
from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK
from hessent.eigensolver.block_solver import BlockSolver
from hessent.pipeline.measure import Measurement, Observer
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.request import SpectrumRequest
from hessent.pipeline.spectrum_run import measurement_for
from hessent.report.preflight import PlannedBlock, Preflight


@dataclass(frozen=True)
class _Cost:
    planned: PlannedBlock
    seconds: float
    vector_bytes: int


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
    prepared = prepare(request)
    for note in prepared.notes:
        observer.noted(note)
    measurement = measurement_for(request, prepared)
    measurement.engine.choose(measurement.whole)
    costs = [_cost(measurement, block) for block in measurement.blocks]
    vectors = max(cost.vector_bytes for cost in costs)
    return Preflight(
        checkpoint=prepared.checkpoint,
        data=prepared.data,
        loss=prepared.problem.loss.name,
        output=str(request.output),
        num_params=prepared.problem.num_params,
        batch_size=prepared.stream.batch_size,
        device=prepared.problem.device.type,
        dtype=str(prepared.problem.dtype).removeprefix("torch."),
        engine=measurement.engine.engine,
        blocks=tuple(cost.planned for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        memory_expected=_graph_bytes(measurement, prepared) + vectors,
        memory_available=prepared.memory,
        problems=_problems(request, prepared),
        notes=prepared.notes,
    )


def _cost(measurement: Measurement, block: Block) -> _Cost:
    solver = BlockSolver(
        block.name,
        block.parameters,
        block.size,
        measurement.settings,
        dtype=measurement.problem.dtype,
        device=measurement.problem.device,
        spent=PRODUCTS_PER_BLOCK,
    )
    v = torch.ones(block.size, 1, dtype=measurement.problem.dtype, device=measurement.problem.device)
    measurement.engine.products([(block, v)])  # the first product pays for graphs and allocation
    start = time.perf_counter()
    product = measurement.engine.products([(block, v)])[0].total
    float(product[0, 0])  # waits for a device that works asynchronously
    each = time.perf_counter() - start
    matvecs = solver.planned_matvecs() + PRODUCTS_PER_BLOCK
    return _Cost(
        PlannedBlock(block.name, block.size, "exact" if solver.exact else "lanczos", matvecs),
        matvecs * each,
        _vector_bytes(block.size, solver.exact, matvecs, product.element_size(), measurement.settings.basis_memory),
    )


def _vector_bytes(size: int, exact: bool, matvecs: int, itemsize: int, allowed: int) -> int:
    """Bytes of an exact block's matrix and its copies, or of a sampled block's Lanczos vectors."""
    if exact:
        return 24 * size * size
    return min(matvecs * size * itemsize, max(allowed, 32 * size * itemsize))


def _graph_bytes(measurement: Measurement, prepared: Prepared) -> int:
    """Bytes of the gradient graphs held at once, and of one second backward pass."""
    total = measurement.engine.graph_bytes
    one = total * min(prepared.stream.batch_size, prepared.stream.num_samples) // prepared.stream.num_samples
    return (total if measurement.engine.keeps_graphs else one) + one


def _problems(request: SpectrumRequest, prepared: Prepared) -> tuple[str, ...]:
    found: list[str] = []
    if prepared.data.synthetic:
        found.append("the data is synthetic: the numbers will say nothing about the trained model")
    folder = request.output.parent
    if not os.access(folder, os.W_OK):
        found.append(f"'{folder}' does not exist or is not writable; -o FILE.spectrum.h5 puts the result elsewhere")
    return tuple(found)
