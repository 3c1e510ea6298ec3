"""From a request to a problem: weights in the model, data chosen, loss and device settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hessent.arch.registry import build, is_built_in, nearest
from hessent.checkpoint.matching import load_into
from hessent.checkpoint.prefixes import strip_prefixes
from hessent.checkpoint.reader import Checkpoint, open_checkpoint
from hessent.checkpoint.trust import resolve_data
from hessent.curvature.problem import Problem
from hessent.data.registry import no_data_error, open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import CheckpointError, UsageError
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.made_up import SYNTHETIC, made_up_like
from hessent.pipeline.request import (
    DEFAULT_SAMPLES,
    SpectrumRequest,
    find_config,
    first_known,
    may_run_code,
    parse_size,
)
from hessent.pipeline.resources import available_memory, choose_batch_size, choose_device
from hessent.spectra.model import CheckpointInfo, DataInfo

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

    @property
    def graph_memory(self) -> int:
        """Bytes for gradient graphs."""
        return int(_GRAPH_SHARE * self.memory)

    @property
    def vector_memory(self) -> int:
        """Bytes for the vectors of one block."""
        return self.memory - self.graph_memory


def prepare(request: SpectrumRequest) -> Prepared:
    """Read the checkpoint, build the architecture, open the data and join them.

    Parameters
    ----------
    request : SpectrumRequest
        What the user asked.

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
    _refuse_foreign_code(config, config_file)
    choose = _Chooser(request, checkpoint.metadata, config)
    notes = [f"settings from {config_file}"] if config else []

    arch = choose("arch")
    if arch == "auto":  # what the checkpoint says of itself is less of a guess than its shapes
        arch = first_known(checkpoint.metadata.arch, "auto")
    if arch is None:
        raise _no_architecture(request.checkpoint, checkpoint)
    if request.arch in (None, "auto") and arch == checkpoint.metadata.arch and not is_built_in(arch):
        raise CheckpointError(
            f"its metadata names the architecture '{arch}', which is not built in",
            where=request.checkpoint,
            expected="a built-in name: a checkpoint may not decide which plug-in is loaded",
            fix=f"--arch {arch}, if you trust it",
        )
    # Options belong to the architecture they were saved with: another --arch starts from its own defaults.
    same = arch == checkpoint.metadata.arch
    options = {
        **config.get("arch_options", {}),
        **(checkpoint.metadata.arch_options if same else {}),
        **request.arch_options,
    }
    shapes = _bare_shapes(checkpoint)
    built = build(arch, tensors=shapes, options=options, where=request.checkpoint)
    loaded = checkpoint.load()
    try:
        report = load_into(built.model, loaded.tensors, rename=built.rename, where=request.checkpoint)
    except CheckpointError as error:
        raise _with_hint(error, built.name, nearest(shapes)) from error
    notes += [*built.assumptions, *report.notes]

    data_name = choose("data") or built.default_data
    if data_name is None:
        raise no_data_error(request.checkpoint)
    if request.data is None and data_name == checkpoint.metadata.data:
        data_name = resolve_data(data_name, checkpoint.folder)
    if data_name == SYNTHETIC:
        data_name = made_up_like(built, checkpoint.metadata)
    dataset = open_dataset(data_name)
    seed = first_known(choose("seed_of_request"), 0)
    samples = first_known(choose("samples"), DEFAULT_SAMPLES)
    stream = BatchStream(dataset, samples=samples, batch_size=1, seed=seed)

    device = choose_device(choose("device"))
    memory = first_known(request.memory, _size(config.get("memory")), available_memory(device))
    dtype = torch.float64 if choose("dtype") == "float64" else torch.float32
    problem = Problem(
        built.model, first_known(choose("loss"), built.default_loss), stream, device=device, dtype=dtype
    )
    few = problem.with_batches(stream.with_batch_size(min(_TRIED_SAMPLES, stream.num_samples)))
    _check_fit(few, stream, built.name)
    batch_size = choose("batch_size")
    if batch_size is None:
        batch_size = choose_batch_size(few, stream.num_samples, int(_GRAPH_SHARE * memory))
    stream = stream.with_batch_size(min(batch_size, stream.num_samples))
    problem = problem.with_batches(stream)

    return Prepared(
        problem=problem,
        stream=stream,
        checkpoint=CheckpointInfo(
            path=request.checkpoint,
            sha256=loaded.sha256,
            arch=built.name,
            arch_options=dict(built.options),
            step=checkpoint.metadata.step,
            total_steps=checkpoint.metadata.total_steps,
            optimizer=dict(checkpoint.metadata.optimizer),
            metrics=dict(checkpoint.metadata.metrics),
            stored_dtype=loaded.stored_dtype,
        ),
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
            request.accuracy, rtol=float(first_known(request.rtol, config.get("rtol"), request.accuracy.rtol))
        ),
        seed=seed,
        memory=memory,
        notes=tuple(notes),
    )


class _Chooser:
    """Looks a setting up on the command line, in the metadata, in the configuration, in this order."""

    def __init__(self, request: SpectrumRequest, metadata: Any, config: Mapping[str, Any]) -> None:
        self._request, self._metadata, self._config = request, metadata, config

    def __call__(self, name: str) -> Any:
        if name == "seed_of_request":  # the seed in the metadata is that of the training, not of the probes
            return first_known(self._request.seed, self._config.get("seed"))
        return first_known(
            getattr(self._request, name, None), getattr(self._metadata, name, None), self._config.get(name)
        )


def _refuse_foreign_code(config: Mapping[str, Any], config_file: Path | None) -> None:
    """A configuration file outside the user's own project may not name code."""
    if may_run_code(config_file):
        return
    named = [
        key for key in ("arch", "data", "loss") if ".py" in str(config.get(key, "")) or _dotted(config.get(key))
    ]
    if named:
        raise UsageError(
            "names code to import, but does not lie in the working folder or above it",
            where=str(config_file),
            problems=[f"{key} = {config[key]!r}" for key in named],
            fix="give these settings on the command line, or run from that folder if you trust it",
        )


def _dotted(value: Any) -> bool:
    head, colon, tail = str(value or "").partition(":")
    return bool(colon) and "." in head and tail.isidentifier()


def _bare_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes by name without wrapper prefixes, as the registry wants them."""
    names = strip_prefixes(checkpoint.tensors).names
    return {bare: checkpoint.tensors[stored].shape for stored, bare in names.items()}


def _no_architecture(path: str, checkpoint: Checkpoint) -> UsageError:
    near = nearest(_bare_shapes(checkpoint))
    return UsageError(
        "the checkpoint does not say which architecture it belongs to",
        where=path,
        fix=near or "--arch NAME (see `hessent archs`), package.module:factory or path/to/file.py:factory",
    )


def _with_hint(error: CheckpointError, arch: str, near: str | None) -> CheckpointError:
    """Name the built-in architecture that comes nearest, unless it is the one that was tried."""
    if near is None or near.startswith(f"--arch {arch} ") or near.startswith(f"--arch {arch},"):
        return error
    return CheckpointError(
        error.found, where=error.where, expected=error.expected, fix=near, problems=error.problems
    )


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
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"the model cannot take the data's inputs of shape {tuple(stream.spec.input_shape)}: {first}",
            where=f"--arch {arch}, --data {stream.name}",
            expected="data of the kind and size the checkpoint was trained on",
            fix="another --data, its parameters (see `hessent data`), or --arch-option",
        ) from error
    problem.loss.check(outputs, targets, f"--data {stream.name}")
