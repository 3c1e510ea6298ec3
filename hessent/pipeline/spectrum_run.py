"""`hessent spectrum` as one call: prepare, reuse what is there, measure what is missing, write."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hessent.errors import HessentError, SpectrumFileError, UsageError
from hessent.journal.folder import SUFFIX
from hessent.journal.journal import Journal, JournalGoneError
from hessent.pipeline.gradient_facts import trained_batch_size
from hessent.pipeline.journalled_units import choices_of, run_kept
from hessent.pipeline.kronecker_run import kronecker_settings, measure_kronecker, refuse_options_of_products
from hessent.pipeline.measure import Measurement
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.recorder import Recorder
from hessent.pipeline.request import DIAGONAL, KFAC, PLAIN, TRACE, SpectrumRequest
from hessent.pipeline.target_file import refuse_folder, refuse_link
from hessent.pipeline.unit_diagonal import with_unit_diagonal
from hessent.pipeline.units import SettledOtherwiseError
from hessent.pipeline.vector_places import overflow_for
from hessent.pipeline.versions import library_versions
from hessent.spectra.hdf5_reader import load
from hessent.spectra.made_otherwise import HARMLESS, differences
from hessent.spectra.merging import PART
from hessent.spectra.model import Spectrum

_ATTEMPTS = 5  # other processes may settle or finish what is shared at the same moment


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
    """Measure a checkpoint, go on with a measurement that was stopped, or return the one that is finished.

    Parameters
    ----------
    request : SpectrumRequest
        What is asked.
    observer : Observer
        Told of progress; may stop the work, which leaves a readable file marked as not complete, and beside it what
        the same request goes on from.
    force : bool
        Measure again in any case.

    Returns
    -------
    Outcome

    Raises
    ------
    UsageError
        If a file or an unfinished measurement with other settings is in the way.
    HessentError
        Whatever preparation, measuring or writing raises.
    """
    if request.curvature == KFAC:
        refuse_options_of_products(request)
    refuse_folder(request.output)
    if request.out is None:
        refuse_link(request.output)
    for _ in range(_ATTEMPTS):
        try:
            return _run(request, observer, force=force)
        except (SettledOtherwiseError, JournalGoneError) as error:
            # Go on with the choices of the process that was first; or it has finished, and the file is there.
            force, met = False, error
    raise met


def _run(request: SpectrumRequest, observer: Observer, *, force: bool) -> Outcome:
    target = request.output
    settled = None if force else Journal.read_settled(target)
    prepared = prepare(request, choices_of(settled))
    for note in prepared.notes:
        observer.noted(note)
    settings = _settings(request, prepared)
    if not force:
        existing = _finished(request, prepared, settings)
        if existing is not None:
            # A process that was killed after the file was written has left its journal.
            if target.with_name(target.name + SUFFIX).exists():
                with contextlib.suppress(HessentError), _journal(request, prepared, settings) as journal:
                    journal.discard()
            return existing
    if request.curvature == KFAC:
        return Outcome(measure_kronecker(request, prepared, observer), target, computed=True)
    if request.normalization == DIAGONAL:
        prepared = with_unit_diagonal(prepared, observer)
    measurement = measurement_for(request, prepared)
    recorder = Recorder(
        observer, lambda: measurement.spectrum(prepared.checkpoint, prepared.data, settings), target
    )
    with _journal(request, prepared, settings, force=force) as journal:
        if not force:
            # Another process may have finished, and taken its journal away, since we looked.
            existing = _finished(request, prepared, settings)
            if existing is not None:
                journal.discard()
                return existing
        spectrum = run_kept(measurement, journal, recorder, max_time=request.max_time, settled=settled)
    return Outcome(spectrum, target, computed=True)


def _journal(
    request: SpectrumRequest, prepared: Prepared, settings: Mapping[str, Any], *, force: bool = False
) -> Journal:
    return Journal.open(
        request.output,
        _identity(request, prepared, settings),
        force=force,
        shown_as=str(request.out or request.output),
    )


def _finished(request: SpectrumRequest, prepared: Prepared, settings: Mapping[str, Any]) -> Outcome | None:
    """Return the measurement in the target file, if it is finished.

    Raises
    ------
    UsageError
        If it is in the way.
    """
    target = request.output
    existing = _existing(target)
    if existing is None:
        return None
    differing = differences(existing, _asked(prepared, settings))
    part, asked = existing.settings.get(PART), None if request.part is None else str(request.part)
    held = None if part is None else f"{part['part']}/{part['of']}"
    if held != asked:
        differing.append(f"units: {held or 'all'} in the file, {asked or 'all'} now")
    if differing:
        raise UsageError(
            "holds a measurement made otherwise",
            where=str(request.out or target),
            problems=differing,
            fix="--force to replace it, or -o OTHER.spectrum.h5 to keep both",
        )
    done = existing.complete or (part is not None and part["done"])
    return Outcome(existing, target, computed=False) if done else None


def _settings(request: SpectrumRequest, prepared: Prepared) -> dict[str, Any]:
    """Every setting that can change a number, as it goes into the file."""
    if request.curvature == KFAC:
        return kronecker_settings(request, prepared)
    return {
        "blocks": list(prepared.blocks),
        "full": prepared.full,
        **prepared.accuracy.as_settings(),
        "max_time": request.max_time,
        "verify": request.verify,
        "batch_size": prepared.stream.batch_size,
        "dtype": str(prepared.problem.dtype).removeprefix("torch."),
        **prepared.problem.curvature.as_settings(),
        **({} if prepared.problem.metric is None else prepared.problem.metric.as_settings()),
        **({} if request.normalization == TRACE else {"normalization": request.normalization}),
        **({} if request.split_probes is None else {"split_probes": request.split_probes}),
    }


def _identity(request: SpectrumRequest, prepared: Prepared, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a measurement must have in common with one that is to go on with it."""
    return {
        **_asked(prepared, settings),
        "device": prepared.problem.device.type,
        "engine": request.engine or "auto",
        "batch-size": request.batch_size,
        "memory": request.memory,
        "units": None if request.part is None else str(request.part),
        "versions": library_versions(),
    }


def _asked(prepared: Prepared, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished measurement must have been made with, to be taken for the one asked for."""
    return {
        "precondition": PLAIN,
        "normalization": TRACE,
        "checkpoint": prepared.checkpoint.sha256,
        "arch": prepared.checkpoint.arch,
        "arch options": _as_stored(prepared.checkpoint.arch_options),
        "data": prepared.data.sha256,
        "loss": prepared.problem.loss.name,
        "curvature": prepared.problem.curvature.name,
        "seed": prepared.seed,
        **{name.replace("_", "-"): value for name, value in settings.items() if name not in HARMLESS},
    }


def made_otherwise(spectrum: Spectrum, request: SpectrumRequest, names: Container[str]) -> list[str]:
    """Return a line for each thing, among `names`, that separates a spectrum from what a request would measure.

    Parameters
    ----------
    spectrum : Spectrum
        From a file.
    request : SpectrumRequest
        What would be asked.
    names : container of str
        As in `hessent.spectra.made_otherwise.held`.

    Raises
    ------
    HessentError
        Whatever preparation raises.
    """
    prepared = prepare(request)
    asked = _asked(prepared, _settings(request, prepared))
    return differences(spectrum, {name: value for name, value in asked.items() if name in names})


def _as_stored(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they come back from a file: JSON knows lists, not tuples."""
    stored: dict[str, Any] = json.loads(json.dumps(dict(options), default=str))
    return stored


def _existing(target: Path) -> Spectrum | None:
    if not os.path.exists(target):
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
        part=request.part,
        split_probes=request.split_probes,
        mini_batch=trained_batch_size(prepared.checkpoint.optimizer),
        overflow=overflow_for(prepared.problem.device, request.output),
    )
