"""The spectrum of the whole Hessian that a bound needs: from a file of the same weights and data, or measured."""

from __future__ import annotations

import os
from dataclasses import replace

from hessent.curvature.blocks import FULL
from hessent.errors import ComputationError, HessentError, UsageError
from hessent.measures.functionals import only_trace
from hessent.pipeline.bound.draws import StoppedError
from hessent.pipeline.measure import Measurement
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared
from hessent.pipeline.request import PLAIN, SpectrumRequest
from hessent.pipeline.spectrum_run import measurement_for
from hessent.spectra.hdf5_reader import load
from hessent.spectra.made_otherwise import differences
from hessent.spectra.model import BlockSpectrum, Spectrum


def whole_request(request: SpectrumRequest) -> SpectrumRequest:
    """Return the request that measures the whole Hessian alone, without the error of the data subset."""
    return replace(
        request, blocks=(FULL,), full=True, accuracy=replace(request.accuracy, data_error=False), part=None
    )


def found_spectrum(
    request: SpectrumRequest, prepared: Prepared, file: str | None, observer: Observer
) -> tuple[BlockSpectrum, str] | None:
    """Return the whole Hessian from a file, and the file: the one that was named, or the one beside the checkpoint.

    Raises
    ------
    UsageError
        If the named one is not of this Hessian.
    SpectrumFileError
        If the named one cannot be read.
    """
    path = str(request.output) if file is None else file
    if file is None and not os.path.exists(path):
        return None
    try:
        spectrum = load(path)
    except HessentError as error:
        if file is not None:
            raise
        observer.noted(f"{path}: not used, {error.found}")
        return None
    problems = _unfit(spectrum, prepared)
    if not problems:
        return spectrum.block(FULL), path
    if file is not None:
        raise UsageError(
            "is not a spectrum of this Hessian",
            where=file,
            problems=problems,
            expected="a complete one, with the block `full`, of the same weights, data and loss",
            fix="without --spectrum it is measured; or give --samples, --seed and --data as they were",
        )
    observer.noted(f"{path}: not used ({'; '.join(problems)})")
    return None


def _unfit(spectrum: Spectrum, prepared: Prepared) -> list[str]:
    """Why a spectrum is not that of the whole Hessian of this problem."""
    asked = {
        "checkpoint": prepared.checkpoint.sha256,
        "data": prepared.data.sha256,
        "loss": prepared.problem.loss.name,
        "curvature": "hessian",
        "precondition": PLAIN,
        "arch": prepared.checkpoint.arch,
    }
    found = differences(spectrum, asked)
    if not spectrum.complete:
        found.append("its measurement was stopped early")
    block = next((block for block in spectrum.blocks if block.name == FULL), None)
    if block is None:
        found.append("it has no block `full`")
    elif only_trace(block):
        found.append("only the trace was measured")
    elif block.size != prepared.problem.num_params:
        found.append(f"{block.size:,} parameters in the file, {prepared.problem.num_params:,} now")
    return found


def measured_spectrum(measurement: Measurement, observer: Observer, max_time: float | None) -> BlockSpectrum:
    """Measure the whole Hessian.

    Raises
    ------
    StoppedError
        If the observer asked for the end.
    ComputationError
        If the time does not suffice for any estimate.
    """
    measurement.run(observer, max_time=max_time)
    if observer.should_stop():
        raise StoppedError
    blocks = measurement.spectra()
    if not blocks:
        raise ComputationError(
            "no time was left for an estimate of the spectrum",
            where="--max-time",
            fix="a longer --max-time, or fewer --samples",
        )
    return blocks[0]


def measurement_of(request: SpectrumRequest, prepared: Prepared) -> Measurement:
    """Return the measurement of the whole Hessian; the loss has been evaluated, nothing else."""
    return measurement_for(whole_request(request), prepared)
