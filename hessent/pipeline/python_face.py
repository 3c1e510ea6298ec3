"""`hessent.operator` and `hessent.spectrum`: the same measurement for a model that is already in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hessent.curvature.block_operator import BlockOperator
from hessent.curvature.blocks import FULL, Block, resolve_blocks
from hessent.curvature.containers import map_tensors, num_samples
from hessent.curvature.engine import HessianEngine
from hessent.curvature.matrices.drawn_targets import DrawnTargets
from hessent.curvature.matrices.kinds import HESSIAN, resolve_curvature
from hessent.curvature.problem import Problem
from hessent.errors import UsageError, suggest
from hessent.journal.journal import Journal, JournalGoneError
from hessent.measures.measured_spectrum import MeasuredSpectrum
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.journalled_units import choices_of, run_kept
from hessent.pipeline.measure import Measurement
from hessent.pipeline.observer import Observer, Silent
from hessent.pipeline.recorder import Recorder
from hessent.pipeline.resources import available_memory
from hessent.pipeline.settled import Settled
from hessent.pipeline.units import SettledOtherwiseError
from hessent.pipeline.vector_places import overflow_for
from hessent.pipeline.versions import library_versions
from hessent.spectra.hdf5_reader import load
from hessent.spectra.provenance import CheckpointInfo, DataInfo

_GRAPH_SHARE = 0.7

_EXPECTED_PRODUCTS = 300  # with an operator that somebody asks for; engines are timed within 3 % of that


def operator(
    problem: Problem, *, curvature: str = HESSIAN, block: str | None = None, memory: int | None = None
) -> BlockOperator:
    """Return the Hessian of a problem, or another curvature, or one of their diagonal blocks, as an operator.

    Parameters
    ----------
    problem : Problem
        Model, loss and data.
    curvature : str
        `hessian`, `ggn`, `fisher` or `empirical-fisher`: `hessent.curvature.matrices.kinds` defines them.
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
        If there is no such curvature or block.
    """
    problem = problem.with_curvature(resolve_curvature(curvature))
    chosen = _find_block(problem, block)
    problem.measure_loss()
    room = memory if memory is not None else int(_GRAPH_SHARE * available_memory(problem.device))
    engine = HessianEngine(problem, memory=room)
    engine.choose([(chosen, _EXPECTED_PRODUCTS)])
    return engine.operator(chosen)


def spectrum(
    problem: Problem,
    *,
    curvature: str = HESSIAN,
    fisher_samples: int | None = None,
    blocks: str | Sequence[str] = "layer",
    full: bool = True,
    method: str = "auto",
    rtol: float | None = None,
    max_matvecs: int | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    only: str | None = None,
    data_error: bool = True,
    data_groups: int = 4,
    population: int | None = None,
    max_time: float | None = None,
    seed: int = 0,
    memory: int | None = None,
    engine: str = "auto",
    verify: bool = True,
    out: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
) -> MeasuredSpectrum:
    """Measure the spectrum of a problem's Hessian, or of another curvature, block by block.

    Parameters
    ----------
    problem : Problem
        Model, loss and data; `problem.with_metric(P)` for P^{-1/2} C P^{-1/2}.  The error of the data subset is
        told from contiguous runs of the samples, in the order in which `batches` gives them: shuffle data that is
        sorted (by class, by source) once beforehand.
    curvature : str
        `hessian`, `ggn`, `fisher` or `empirical-fisher`: `hessent.curvature.matrices.kinds` defines them.
    fisher_samples : int, optional
        Of `fisher`: targets drawn per item, in place of the exact expectation.
    blocks : str or sequence of str
        `full`, `layer`, `module`, `parameter` or `GLOB=NAME`.
    full : bool
        Whether the whole matrix is measured too, as the block `full`.
    method : str
        `auto` (exact where a block is small), `exact` or `lanczos`.
    rtol : float, optional
        Target relative 95 % half-width of entropy gap and absolute trace; 0 spends the whole budget.  By default
        0.05, but 0 where `max_matvecs` is given.
    max_matvecs, num_probes, num_steps : int, optional
        Budget per block, or probes and steps by hand.
    only : str, optional
        `trace`: nothing but the trace, for far fewer products.
    data_error : bool
        Whether the error of the data subset is told: every measure then has an interval for the population that
        the samples were drawn from.  It costs no product.
    data_groups : int
        Groups of the data it is told from, at least 2.
    population : int, optional
        Size of the finite population that the samples were drawn from, themselves included.
    max_time : float, optional
        Seconds after which nothing more is refined.
    seed : int
        Seed of all start vectors.
    memory : int, optional
        Bytes for gradient graphs and vectors; vectors beyond go to a temporary file.
    engine : str
        `auto`, `retained` or `batched`.
    verify : bool
        Whether a failed check of the operator is an error.
    out : path-like, optional
        Spectrum file to write; None keeps the result in memory.  A measurement that was stopped or killed goes on
        from what lies in OUT.partial, if model, data and settings are the same; several processes share it.
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
    accuracy = Accuracy(
        method=method,
        rtol=rtol,
        max_matvecs=max_matvecs,
        num_probes=num_probes,
        num_steps=num_steps,
        only=only,
        data_error=data_error,
        data_groups=data_groups,
        population=population,
    )
    matrix = resolve_curvature(curvature, fisher_samples=fisher_samples, seed=seed)
    problem = problem.with_curvature(matrix)
    settings = {
        "blocks": [blocks] if isinstance(blocks, str) else list(blocks),
        "full": full,
        **accuracy.as_settings(),
        **matrix.as_settings(),
        **({} if problem.metric is None else problem.metric.as_settings()),
        "max_time": max_time,
        "verify": verify,
    }
    asked = _Asked(problem, accuracy, settings, seed, memory, engine)
    watching = observer or Silent()
    if out is None:
        measurement = asked.measurement(None, None)
        measurement.run(watching, max_time=max_time)
        return MeasuredSpectrum.of(measurement.spectrum(*_provenance(problem), settings))
    try:
        try:
            return _into_file(asked, Path(out), watching)
        except SettledOtherwiseError:
            return _into_file(asked, Path(out), watching)  # with the choices of the process that was first
    except JournalGoneError:
        return MeasuredSpectrum.of(load(out))  # another process that shares the blocks has finished


@dataclass(frozen=True)
class _Asked:
    """What `spectrum` was asked for."""

    problem: Problem
    accuracy: Accuracy
    settings: dict[str, Any]
    seed: int
    memory: int | None
    engine: str

    def measurement(self, out: Path | None, settled: Settled | None) -> Measurement:
        room = self.memory if settled is None else settled.memory
        if room is None:
            room = available_memory(self.problem.device)
        graph_memory = int(_GRAPH_SHARE * room)
        return Measurement(
            self.problem,
            specifications=self.settings["blocks"],
            full=self.settings["full"],
            accuracy=self.accuracy,
            seed=self.seed,
            vector_memory=room - graph_memory,
            graph_memory=graph_memory,
            engine=self.engine,
            verify=self.settings["verify"],
            overflow=overflow_for(self.problem.device, out),
        )

    def identity(self, checkpoint: CheckpointInfo, data: DataInfo) -> dict[str, Any]:
        """Everything that a measurement must have in common with one that is to go on with it."""
        return {
            "weights": checkpoint.sha256,
            "data": data.sha256,
            "batch size": num_samples(next(self.problem.micro_batches())[0]),
            "loss": self.problem.loss.name,
            "curvature": self.problem.curvature.name,
            "seed": self.seed,
            "device": self.problem.device.type,
            "dtype": checkpoint.stored_dtype,
            "engine": self.engine,
            "memory": self.memory,
            "versions": library_versions(),
            **{name: value for name, value in self.settings.items() if name != "max_time"},
        }


def _into_file(asked: _Asked, out: Path, observer: Observer) -> MeasuredSpectrum:
    settled = Journal.read_settled(out)
    measurement = asked.measurement(out, choices_of(settled))
    checkpoint, data = _provenance(asked.problem)
    recorder = Recorder(observer, lambda: measurement.spectrum(checkpoint, data, asked.settings), out)
    with Journal.open(out, asked.identity(checkpoint, data), shown_as=str(out)) as journal:
        found = run_kept(measurement, journal, recorder, max_time=asked.settings["max_time"], settled=settled)
    return MeasuredSpectrum.of(found)


def _provenance(problem: Problem) -> tuple[CheckpointInfo, DataInfo]:
    """Weights and data in memory have no name but their digest."""
    samples, digest = _fingerprint(problem)
    checkpoint = CheckpointInfo(
        path="(in memory)",
        sha256=_digest_of_weights(problem),
        arch=type(problem.model).__qualname__,
        stored_dtype=str(problem.dtype).removeprefix("torch."),
    )
    return checkpoint, DataInfo("(in memory)", samples, samples, digest)


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
    batches = problem.batches
    for inputs, targets in batches.plain if isinstance(batches, DrawnTargets) else batches:
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
