"""Runs as experiment trackers know them: named series over training steps, and what was measured how.

Series
------
``hessent/BLOCK/MEASURE``
    The value; ``hessent_low/BLOCK/MEASURE`` and ``hessent_high/BLOCK/MEASURE`` are the ends of its 95 % interval
    for the data that was used, left out where the number is exact.  What is unknown is left out.
``hessent/loss``
    The mean loss of the samples whose curvature was measured.
``checkpoint/METRIC``
    What the checkpoint's metadata states: losses and accuracies of the training.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hessent import __version__
from hessent.errors import UsageError
from hessent.measures.mini_batches import batch_size_of
from hessent.report.exports.sources import Source
from hessent.report.kinds import Kind
from hessent.report.names import printable
from hessent.report.selection import MeasuredBlock, Selection, select_blocks
from hessent.report.settings import shown_settings
from hessent.spectra.model import Spectrum
from hessent.storage.failures import storage_failure

_NO_WORD = re.compile(r"[^\w-]")
_EXPORTER = "exported_by"
VALUE, LOW, HIGH = "hessent", "hessent_low", "hessent_high"


@dataclass(frozen=True)
class TrackedPoint:
    """One checkpoint of a run.

    Attributes
    ----------
    step : int
        Training step.
    seconds : int
        When its spectrum was written, in seconds since 1970.
    file, sha256 : str
        The spectrum's file as typed, and the digest of the weights.
    values : mapping of str to float
        By series; see the module's docstring.
    """

    step: int
    seconds: int
    file: str
    sha256: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """A run with its checkpoints by step.

    Attributes
    ----------
    name : str
        The folder's, see `sources`; of another matrix than the Hessian ``NAME/MATRIX``.
    facts : mapping of str to str
        What was measured and how; values that differ between checkpoints are joined.
    points : tuple of TrackedPoint
        By step, ascending.
    """

    name: str
    facts: Mapping[str, str]
    points: tuple[TrackedPoint, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """Names of all series, in the order of the model and of the measures."""
        return tuple(dict.fromkeys(name for point in self.points for name in point.values))

    @property
    def digest(self) -> str:
        """A fingerprint of the name, the facts and every number: the same export has the same one."""
        points = [[point.step, point.sha256, dict(point.values)] for point in self.points]
        facts = {name: value for name, value in self.facts.items() if name != _EXPORTER}
        content = json.dumps([self.name, facts, points], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def tracked_runs(sources: Sequence[Source], selection: Selection) -> list[TrackedRun]:
    """Return the runs of what was read, each in order of its steps.

    Parameters
    ----------
    sources : sequence of Source
        What was measured.
    selection : Selection
        Which blocks and measures, at which Rényi order.

    Raises
    ------
    UsageError
        If files of one folder are not steps of one training, or a glob matches no block.
    """
    by_run: dict[str, list[Source]] = {}
    for source in sources:
        by_run.setdefault(_name(source), []).append(source)
    problems = [problem for own in by_run.values() for problem in _problems(own)]
    if problems:
        raise UsageError(
            "these files are not the steps of one run each",
            problems=problems,
            fix="name the files of one run, or --to csv, which takes any",
        )
    return [
        TrackedRun(
            name,
            _facts([source.entry.spectrum for source in own], selection),
            tuple(_point(source, selection) for source in sorted(own, key=lambda source: source.step or 0)),
        )
        for name, own in by_run.items()
    ]


def base_name(series: str) -> str | None:
    """Return BLOCK/MEASURE of the series of a value, None for any other series."""
    group, _, rest = series.partition("/")
    return rest if group == VALUE and "/" in rest else None


def make_folder(folder: str) -> None:
    """Make the folder that a tracker is given, where it is missing.

    Parameters
    ----------
    folder : str
        As typed.

    Raises
    ------
    UsageError
        If it is a file.
    StorageError
        If it cannot be made.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UsageError("is no folder, and a tracker needs one", where=folder, fix="-o FOLDER")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise storage_failure(folder, error) from error


def _name(source: Source) -> str:
    """The run, and behind it the matrix where it is another than the Hessian: each has series of its own."""
    if source.kind == Kind():
        return source.run
    return f"{source.run}/{_NO_WORD.sub('_', source.kind.name)}"  # it comes from a file, and may become a folder


def _problems(own: Sequence[Source]) -> Iterable[str]:
    steps: dict[int, str] = {}
    first = own[0].entry
    for source in own:
        file, spectrum = source.entry.file, source.entry.spectrum
        if source.step is None and len(own) > 1:
            yield f"{file}: its checkpoint does not say at which training step it was saved"
        elif source.step is not None and source.step in steps:
            yield f"{file}: step {source.step:,}, like {steps[source.step]}"
        else:
            steps[source.step or 0] = file
        for what, mine, theirs in (
            ("architecture", spectrum.checkpoint.arch, first.spectrum.checkpoint.arch),
            ("loss", spectrum.loss.name, first.spectrum.loss.name),
        ):
            if mine != theirs:
                yield f"{file}: its {what} is {mine}, that of {first.file} is {theirs}"


def _point(source: Source, selection: Selection) -> TrackedPoint:
    spectrum = source.entry.spectrum
    values: dict[str, float] = {}
    for measured in select_blocks(source.entry, selection):
        values |= _block_values(measured, selection.measures)
    values[f"{VALUE}/loss"] = spectrum.loss.value
    values |= {f"checkpoint/{name}": value for name, value in spectrum.checkpoint.metrics.items()}
    finite = {printable(name): float(value) for name, value in values.items() if math.isfinite(value)}
    return TrackedPoint(source.step or 0, source.modified, source.entry.file, spectrum.checkpoint.sha256, finite)


def _block_values(measured: MeasuredBlock, measures: Sequence[str]) -> dict[str, float]:
    values = {}
    for measure in measures:
        own = measured.measures[measure]
        ends = (None, None) if own.exact else (own.low, own.high)
        for group, number in zip((VALUE, LOW, HIGH), (own.value, *ends), strict=True):
            if number is not None:
                values[f"{group}/{measured.block.name}/{measure}"] = number
    return values


def _facts(spectra: Sequence[Spectrum], selection: Selection) -> dict[str, str]:
    """What is the same for all checkpoints of a run, or what of it is not."""
    named: dict[str, list[str]] = {}
    for spectrum in spectra:
        checkpoint, data = spectrum.checkpoint, spectrum.data
        batch_sizes = {size for block in spectrum.blocks if (size := batch_size_of(block)) is not None}
        own = {
            "arch": checkpoint.arch,
            "arch_options": shown_settings(checkpoint.arch_options),
            "optimizer": shown_settings(checkpoint.optimizer),
            "curvature": spectrum.curvature,
            "preconditioner": spectrum.preconditioner,
            "loss": spectrum.loss.name,
            "data": data.name,
            "samples": str(data.samples),
            "data_sha256": data.sha256,
            "synthetic_data": str(data.synthetic).lower(),
            "complete": str(spectrum.complete).lower(),
            "seed": str(spectrum.seed),
            "mini_batch_size": ", ".join(map(str, sorted(batch_sizes))),
            "hessent": spectrum.versions.get("hessent", ""),
        }
        for name, value in own.items():
            named.setdefault(name, []).append(value)
    facts = {name: " | ".join(dict.fromkeys(values)) for name, values in named.items()}
    facts |= {"alpha": f"{selection.alpha:g}", _EXPORTER: f"hessent {__version__}"}
    return {name: printable(value) for name, value in facts.items() if value}
