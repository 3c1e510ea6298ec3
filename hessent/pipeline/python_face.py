"""`hessent.operator` and `hessent.spectrum`: the same measurement for a model that is already in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import torch

from hessent.curvature.blocks import FULL, Block, resolve_blocks
from hessent.curvature.containers import map_tensors, num_samples
from hessent.curvature.engine import BlockOperator, HessianEngine
from hessent.curvature.problem import Problem
from hessent.eigensolver.settings import SolverSettings
from hessent.errors import UsageError, suggest
from hessent.measures.measured_spectrum import MeasuredSpectrum
from hessent.measures.registry import compute_measures, error_budget
from hessent.pipeline.measure import Measurement, Observer, Silent, library_versions
from hessent.pipeline.resources import available_memory
from hessent.spectra.hdf5_writer import write_spectrum
from hessent.spectra.model import CheckpointInfo, DataInfo, LossInfo, Spectrum

_GRAPH_SHARE = 0.7


def operator(problem: Problem, *, block: str | None = None, memory: int | None = None) -> BlockOperator:
    """Return the Hessian of a problem, or one of its diagonal blocks, as an operator.

    Parameters
    ----------
    problem : Problem
        Model, loss and data.
    block : str, optional
        Name of a layer, module or parameter; None is the whole matrix.
    memory : int, optional
        Bytes that gradient graphs may take; by default most of half the free memory.

    Returns
    -------
    BlockOperator
        With `size`, `matvec`, `matmat` and `num_matvecs`.

    Raises
    ------
    UsageError
        If there is no such block.
    """
    chosen = _find_block(problem, block)
    problem.measure_loss()
    room = memory if memory is not None else int(_GRAPH_SHARE * available_memory(problem.device))
    engine = HessianEngine(problem, memory=room)
    engine.choose(chosen)
    return engine.operator(chosen)


def spectrum(
    problem: Problem,
    *,
    blocks: str | Sequence[str] = "layer",
    full: bool = True,
    method: str = "auto",
    rtol: float = 0.05,
    max_matvecs: int | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    max_time: float | None = None,
    seed: int = 0,
    memory: int | None = None,
    engine: str = "auto",
    verify: bool = True,
    out: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
) -> MeasuredSpectrum:
    """Measure the Hessian spectrum of a problem, block by block.

    Parameters
    ----------
    problem : Problem
        Model, loss and data.
    blocks : str or sequence of str
        `full`, `layer`, `module`, `parameter` or `GLOB=NAME`.
    full : bool
        Whether the whole matrix is measured too, as the block `full`.
    method : str
        `auto` (exact where a block is small), `exact` or `lanczos`.
    rtol : float
        Target relative 95 % half-width of entropy gap and absolute trace; 0 spends the whole budget.
    max_matvecs, num_probes, num_steps : int, optional
        Budget per block, or probes and steps by hand.
    max_time : float, optional
        Seconds after which nothing more is refined.
    seed : int
        Seed of all start vectors.
    memory : int, optional
        Bytes for gradient graphs and vectors.
    engine : str
        `auto`, `retained` or `batched`.
    verify : bool
        Whether a failed check of the operator is an error.
    out : path-like, optional
        Spectrum file to write; None keeps the result in memory.
    observer : Observer, optional
        Told of progress.

    Returns
    -------
    MeasuredSpectrum

    Raises
    ------
    HessentError
        If data, blocks or products are wrong, or the file cannot be written.
    """
    room = memory if memory is not None else available_memory(problem.device)
    measurement = Measurement(
        problem,
        specifications=[blocks] if isinstance(blocks, str) else list(blocks),
        full=full,
        settings=SolverSettings(
            method=method,
            rtol=rtol,
            max_matvecs=max_matvecs,
            num_probes=num_probes,
            num_steps=num_steps,
            seed=seed,
            basis_memory=int((1 - _GRAPH_SHARE) * room),
        ),
        graph_memory=int(_GRAPH_SHARE * room),
        engine=engine,
        verify=verify,
    )
    measurement.run(observer or Silent(), max_time=max_time)
    samples, digest = _fingerprint(problem)
    found = Spectrum(
        checkpoint=CheckpointInfo(
            path="(in memory)",
            sha256=_digest_of_weights(problem),
            arch=type(problem.model).__qualname__,
            stored_dtype=str(problem.dtype).removeprefix("torch."),
        ),
        data=DataInfo("(in memory)", samples, samples, digest),
        loss=LossInfo(problem.loss.name, problem.loss_value),
        curvature="hessian",
        seed=seed,
        complete=measurement.complete,
        settings={
            "blocks": [blocks] if isinstance(blocks, str) else list(blocks),
            "full": full,
            "method": method,
            "rtol": rtol,
            "max_matvecs": max_matvecs,
            "probes": num_probes,
            "steps": num_steps,
            "max_time": max_time,
            "verify": verify,
            **measurement.facts(),
        },
        versions=library_versions(),
        checks=measurement.check.as_dict(),
        blocks=measurement.spectra(),
        tensor_probe=measurement.tensor_probe,
    )
    if out is not None:
        measures = {block.name: compute_measures(block) for block in found.blocks}
        budgets = {block.name: error_budget(block) for block in found.blocks}
        write_spectrum(out, found, measures=measures, budgets=budgets)
    return MeasuredSpectrum.of(found)


def _find_block(problem: Problem, name: str | None) -> Block:
    if name in (None, FULL):
        return Block(FULL, tuple(problem.parameters), problem.num_params)
    known: dict[str, Block] = {}
    for kind in ("parameter", "module", "layer"):  # where names coincide, the layer is meant
        known |= {
            block.name: block for block in resolve_blocks(problem.model, problem.parameters, [kind], full=False)
        }
    if name not in known:
        raise UsageError(f"there is no block '{name}'", fix=suggest(str(name), known), expected=", ".join(known))
    return known[str(name)]


def _fingerprint(problem: Problem) -> tuple[int, str]:
    """Number of samples and digest of the data's content, independent of how it is cut."""
    inputs_digest, targets_digest, count = hashlib.sha256(), hashlib.sha256(), 0
    for inputs, targets in problem.batches:
        map_tensors(inputs, lambda tensor: _feed(inputs_digest, tensor))
        map_tensors(targets, lambda tensor: _feed(targets_digest, tensor))
        count += num_samples(inputs)
    return count, hashlib.sha256(inputs_digest.digest() + targets_digest.digest()).hexdigest()


def _digest_of_weights(problem: Problem) -> str:
    digest = hashlib.sha256()
    for name, parameter in problem.parameters.items():
        digest.update(name.encode())
        _feed(digest, parameter)
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, tensor: torch.Tensor) -> torch.Tensor:
    digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return tensor
