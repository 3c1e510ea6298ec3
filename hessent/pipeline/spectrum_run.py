"""`hessent spectrum` as one call: prepare, reuse what is there, measure, write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hessent.errors import SpectrumFileError, UsageError
from hessent.pipeline.measure import Measurement
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.recorder import Recorder
from hessent.pipeline.request import SpectrumRequest
from hessent.pipeline.vector_places import overflow_for
from hessent.spectra.hdf5_reader import load
from hessent.spectra.model import Spectrum

# Where two runs differ in nothing but these, their numbers agree up to rounding.
_HARMLESS = frozenset(
    {"batch_size", "device", "engine", "engine_why", "graphs_kept", "graph_bytes", "threads", "max_time"}
)


@dataclass(frozen=True)
class Outcome:
    """What a run of `hessent spectrum` ended with.

    Attributes
    ----------
    spectrum : Spectrum
        Read or measured.
    path : Path
        The file it stands in.
    computed : bool
        False when a complete file was there already.
    """

    spectrum: Spectrum
    path: Path
    computed: bool


def run_spectrum(request: SpectrumRequest, observer: Observer, *, force: bool = False) -> Outcome:
    """Measure a checkpoint, or return the finished measurement that is already there.

    Parameters
    ----------
    request : SpectrumRequest
        What is asked.
    observer : Observer
        Told of progress; may stop the work, which leaves a readable file marked as not complete.
    force : bool
        Measure again in any case.

    Returns
    -------
    Outcome

    Raises
    ------
    UsageError
        If a file with other settings is in the way.
    HessentError
        Whatever preparation, measuring or writing raises.
    """
    target = request.output
    _refuse_folder(target)
    prepared = prepare(request)
    for note in prepared.notes:
        observer.noted(note)
    settings = _settings(request, prepared)
    if not force:
        existing = _existing(target)
        if existing is not None:
            differing = _differences(existing, prepared, settings)
            if differing:
                raise UsageError(
                    "holds a measurement made otherwise",
                    where=str(request.out or target),
                    problems=differing,
                    fix="--force to replace it, or -o OTHER.spectrum.h5 to keep both",
                )
            if existing.complete:
                return Outcome(existing, target, computed=False)
    measurement = measurement_for(request, prepared)
    recorder = Recorder(
        observer, lambda: measurement.spectrum(prepared.checkpoint, prepared.data, settings), target
    )
    measurement.run(recorder, max_time=request.max_time)
    return Outcome(recorder.write(), target, computed=True)


def _settings(request: SpectrumRequest, prepared: Prepared) -> dict[str, Any]:
    """Every setting that can change a number, as it goes into the file."""
    return {
        "blocks": list(prepared.blocks),
        "full": prepared.full,
        **prepared.accuracy.as_settings(),
        "max_time": request.max_time,
        "verify": request.verify,
        "batch_size": prepared.stream.batch_size,
        "dtype": str(prepared.problem.dtype).removeprefix("torch."),
    }


def _differences(existing: Spectrum, prepared: Prepared, settings: Mapping[str, Any]) -> list[str]:
    """What separates the measurement in the file from the one asked for, a line each."""
    pairs = {
        "checkpoint": (existing.checkpoint.sha256, prepared.checkpoint.sha256),
        "arch": (existing.checkpoint.arch, prepared.checkpoint.arch),
        "arch options": (dict(existing.checkpoint.arch_options), _as_stored(prepared.checkpoint.arch_options)),
        "data": (existing.data.sha256, prepared.data.sha256),
        "loss": (existing.loss.name, prepared.problem.loss.name),
        "seed": (existing.seed, prepared.seed),
        **{
            name.replace("_", "-"): (existing.settings.get(name), value)
            for name, value in settings.items()
            if name not in _HARMLESS
        },
    }
    return [f"{name}: {old} in the file, {new} now" for name, (old, new) in pairs.items() if old != new]


def _as_stored(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they come back from a file: JSON knows lists, not tuples."""
    stored: dict[str, Any] = json.loads(json.dumps(dict(options), default=str))
    return stored


def _existing(target: Path) -> Spectrum | None:
    if not target.exists():
        return None
    try:
        return load(target)
    except SpectrumFileError as error:
        raise UsageError(
            "is in the way: it is not a spectrum file that can be read",
            where=str(target),
            problems=[error.found],
            fix="--force to replace it, or -o OTHER.spectrum.h5",
        ) from error


def _refuse_folder(target: Path) -> None:
    if target.is_dir():
        raise UsageError("is a folder", where=str(target), expected="the name of a file", fix="-o FILE.spectrum.h5")
    if not target.parent.is_dir():
        raise UsageError(
            f"the folder '{target.parent}' does not exist", where=str(target), fix=f"mkdir -p '{target.parent}'"
        )


def measurement_for(request: SpectrumRequest, prepared: Prepared) -> Measurement:
    """Return the measurement a request stands for; the loss has been evaluated, nothing else.

    Raises
    ------
    HessentError
        If blocks, targets or loss are wrong.
    """
    return Measurement(
        prepared.problem,
        specifications=prepared.blocks,
        full=prepared.full,
        accuracy=prepared.accuracy,
        seed=prepared.seed,
        vector_memory=prepared.vector_memory,
        graph_memory=prepared.graph_memory,
        engine=request.engine or "auto",
        verify=request.verify,
        overflow=overflow_for(prepared.problem.device, request.output),
    )
