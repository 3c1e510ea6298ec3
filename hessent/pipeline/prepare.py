"""From a request to a problem: weights in the model, data chosen, loss and device settled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.trust import resolve_data
from hessent.curvature.kronecker.curvature import KFAC, KroneckerFactored
from hessent.curvature.matrices.kinds import Curvature, resolve_curvature
from hessent.curvature.problem import Problem
from hessent.data.registry import no_data_error, open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import UsageError, memory_ran_out
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.batch_size import choose_batch_size
from hessent.pipeline.choices import Chooser, refuse_foreign_code
from hessent.pipeline.configuration import find_config
from hessent.pipeline.made_up import SYNTHETIC, made_up_like
from hessent.pipeline.preconditioning import choose_metric
from hessent.pipeline.request import DEFAULT_SAMPLES, SpectrumRequest, first_known, parse_size
from hessent.pipeline.resources import available_memory, choose_device
from hessent.pipeline.settled import Settled
from hessent.pipeline.weights import Weights, load_weights
from hessent.spectra.provenance import CheckpointInfo, DataInfo

_TRIED_SAMPLES = 8
_GRAPH_SHARE = 0.7  # of the memory allowed goes to gradient graphs, the rest to Lanczos vectors


@dataclass(frozen=True)
class Prepared:
    """A problem ready to be measured, with its provenance.

    Attributes
    ----------
    problem : Problem
        Loss not yet measured.
    stream : BatchStream
        Its data.
    checkpoint : CheckpointInfo
    data : DataInfo
    blocks : tuple of str
        Block specifications.
    full, accuracy, seed, memory
        As resolved.
    notes : tuple of str
        What was assumed, stripped or chosen: ready-made sentences.
    weights : Weights
        The checkpoint, and the model with its tensors in it.
    """

    problem: Problem
    stream: BatchStream
    checkpoint: CheckpointInfo
    data: DataInfo
    blocks: tuple[str, ...]
    full: bool
    accuracy: Accuracy
    seed: int
    memory: int
    notes: tuple[str, ...]
    weights: Weights

    @property
    def graph_memory(self) -> int:
        """Bytes for gradient graphs."""
        return int(_GRAPH_SHARE * self.memory)

    @property
    def vector_memory(self) -> int:
        """Bytes for the vectors of one block."""
        return self.memory - self.graph_memory


def prepare(request: SpectrumRequest, settled: Settled | None = None) -> Prepared:
    """Read the checkpoint, build the architecture, open the data and join them.

    Parameters
    ----------
    request : SpectrumRequest
        What the user asked.
    settled : Settled, optional
        What an earlier run has settled, in place of looking at the machine.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        If any of them cannot be read, or they do not fit together.
    """
    checkpoint = open_checkpoint(request.checkpoint)
    config, config_file = find_config(request.checkpoint)
    refuse_foreign_code(config, config_file)
    choose = Chooser(request, checkpoint.metadata, config)
    weights = load_weights(request, checkpoint, choose)
    metric, told = choose_metric(request, weights)
    data_name, stream = _open_stream(weights, choose)
    memory = first_known(request.memory, _size(config.get("memory")))
    if settled is not None:
        memory = settled.memory
    problem, stream, memory = _join(weights, stream, choose, memory, settled)
    return Prepared(
        problem=problem.with_metric(metric),
        stream=stream,
        checkpoint=weights.info(request.checkpoint),
        data=DataInfo(
            name=data_name,
            samples=stream.num_samples,
            available=stream.available,
            sha256=stream.sha256,
            synthetic=stream.synthetic,
        ),
        blocks=tuple(request.blocks or config.get("blocks", ()) or ("layer",)),
        full=request.full,
        accuracy=replace(
            request.accuracy, rtol=first_known(request.rtol, config.get("rtol"), request.accuracy.rtol)
        ),
        seed=choose.seed,
        memory=memory,
        notes=(*([f"settings from {config_file}"] if config else []), *weights.notes, *told),
        weights=weights,
    )


def _open_stream(weights: Weights, choose: Chooser) -> tuple[str, BatchStream]:
    """Find the data, by name, and choose samples from it."""
    metadata = weights.checkpoint.metadata
    name = choose("data") or weights.built.default_data
    if name is None:
        raise no_data_error(weights.checkpoint.path)
    if choose.request.data is None and name == metadata.data:
        name = resolve_data(name, weights.checkpoint.folder)
    if name == SYNTHETIC:
        name = made_up_like(weights.built, metadata)
    samples = first_known(choose("samples"), DEFAULT_SAMPLES)
    return name, BatchStream(open_dataset(name), samples=samples, batch_size=1, seed=choose.seed)


def _join(
    weights: Weights, stream: BatchStream, choose: Chooser, allowed: int | None, settled: Settled | None
) -> tuple[Problem, BatchStream, int]:
    """Make the problem, on its device, with micro-batches that fit; return it with its stream and the memory."""
    device = choose_device(choose("device"))
    memory = available_memory(device) if allowed is None else allowed
    try:
        problem = Problem(
            weights.built.model,
            first_known(choose("loss"), weights.built.default_loss),
            stream,
            device=device,
            dtype=torch.float64 if choose("dtype") == "float64" else torch.float32,
        )
    except UsageError as error:
        error.where = error.where or choose.place("loss")  # of what a problem is made, only the loss is a name
        raise
    problem = problem.with_curvature(_curvature(choose, problem))
    few = problem.with_batches(stream.with_batch_size(min(_TRIED_SAMPLES, stream.num_samples)))
    _check_fit(few, stream, weights.built.name)
    batch_size = choose("batch_size") if settled is None else settled.batch_size
    if batch_size is None:
        batch_size = choose_batch_size(few, stream, int(_GRAPH_SHARE * memory))
    stream = stream.with_batch_size(min(batch_size, stream.num_samples))
    return problem.with_batches(stream), stream, memory


def _curvature(choose: Chooser, problem: Problem) -> Curvature:
    asked = choose.request
    if asked.curvature == KFAC:
        return KroneckerFactored(asked.kfac_approx, asked.fisher_samples, problem.loss)
    return resolve_curvature(asked.curvature, fisher_samples=asked.fisher_samples, seed=choose.seed)


def _size(value: Any) -> int | None:
    return None if value is None else parse_size(str(value))


def _check_fit(problem: Problem, stream: BatchStream, arch: str) -> None:
    """Run a few samples, so that data that do not fit the model or the loss are named before anything else.

    Raises
    ------
    UsageError
        If the model cannot take the data's inputs.
    DataError
        If the targets do not fit the model's outputs.
    """
    inputs, targets = next(problem.micro_batches())
    try:
        with torch.no_grad():
            outputs = problem.outputs(inputs)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if memory_ran_out(error):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"the model cannot take the data's inputs of shape {tuple(stream.spec.input_shape)}: {first}",
            where=f"--arch {arch}, --data {stream.name}",
            expected="data of the kind and size the checkpoint was trained on",
            fix="another --data, its parameters (see `hessent data`), or --arch-option",
        ) from error
    problem.loss.check(outputs, targets, f"--data {stream.name}")
