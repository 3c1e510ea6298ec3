"""`hessent compare` as one call: find the spectra of runs, measure what is missing, compare.

The spectrum of a checkpoint stands beside it, under the name that `hessent spectrum` gives it.  In a folder with
checkpoints, those at the shares of the training that are compared are measured where their spectrum is missing or
was stopped early; the same command goes on from there.  Where nothing is missing, torch is not loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hessent.errors import SpectrumFileError, UsageError
from hessent.report.checks.judged_spectrum import JudgedSpectrum, judged_documents, judged_entry
from hessent.report.checks.spectrum_files import read_every
from hessent.report.comparison import Comparison, compare_runs
from hessent.report.comparison_rows import ComparedRun, nearest_mark

if TYPE_CHECKING:
    from hessent.spectra.model import Spectrum

Measure = Callable[[str], None]
"""Measures one checkpoint and leaves its spectrum beside it."""

_WEIGHTS = (".safetensors.index.json", ".safetensors", ".pth.tar", ".pt", ".pth", ".bin", ".ckpt")
_COMPANIONS = (".optim.safetensors",)
_SPECTRUM = ".spectrum.h5"
_IN_MEMORY = "(in memory)"
Given = str | os.PathLike[str] | Mapping[str, Any] | Any


def compare(
    *runs: Given | Sequence[Given],
    measures: Sequence[str] = (),
    blocks: Sequence[str] = (),
    by_block: bool = False,
    strict: bool = False,
    measure: Measure | None = None,
) -> Comparison:
    """Compare runs with the first of them.

    Parameters
    ----------
    *runs : path-like, Spectrum, mapping, or sequence of these
        Each a folder of checkpoints or spectra, a spectra file, a ``hessent.summary/1`` document or its file, a
        spectrum as `hessent.spectrum` and `hessent.load` return it; or a list of these, by training progress.
    measures : sequence of str
        Which are shown and told in words; by default the headline.
    blocks : sequence of str
        Globs; by default the whole matrix, or every block with `by_block`.
    by_block : bool
        Compare block by block, at the last common share of the training.
    strict : bool
        Refuse runs of other data, seeds or settings.
    measure : callable, optional
        Called with the path of each checkpoint that has no finished spectrum; without it only spectra are read.

    Returns
    -------
    Comparison
        With `rows`, `differences`, `warnings`, `sentence` and `to_json()`.

    Raises
    ------
    UsageError
        If they cannot be compared.
    SpectrumFileError
        If a file cannot be read.
    """
    names = _names([_shown(run) for run in runs])
    found = [ComparedRun(name, tuple(_spectra(run, measure))) for name, run in zip(names, runs, strict=True)]
    return compare_runs(found, measures=measures, blocks=blocks, by_block=by_block, strict=strict)


def missing_spectra(folder: str) -> list[str]:
    """Return the checkpoints of a run, at the shares of the training compared, that have no finished spectrum.

    Parameters
    ----------
    folder : str
        As typed.

    Raises
    ------
    CheckpointError
        If the checkpoints cannot be put in order.
    """
    if not any(_is_missing(path) for path in _weights_in(folder)):
        return []
    from hessent.checkpoint.run import open_run  # loads torch

    nearest: dict[float, tuple[float, str]] = {}
    entries = open_run(folder).checkpoints
    for entry in entries:
        mark = nearest_mark(entry.progress)
        if mark is not None:
            candidate = (abs(entry.progress - mark), entry.path)
            nearest[mark] = min(nearest.get(mark, candidate), candidate)
    chosen = {path for _, path in nearest.values()} or {entry.path for entry in entries}
    return [entry.path for entry in entries if entry.path in chosen and _is_missing(entry.path)]


def _spectra(run: Given | Sequence[Given], measure: Measure | None) -> list[JudgedSpectrum]:
    """Every spectrum of a run, by step."""
    if isinstance(run, list | tuple):
        found = [spectrum for one in run for spectrum in _spectra(one, measure)]
    elif isinstance(run, str | os.PathLike):
        path = os.fspath(run)
        if measure is not None and os.path.isdir(path):
            for checkpoint in missing_spectra(path):
                measure(checkpoint)
        found = _read(path)
    elif isinstance(run, Mapping):
        found = judged_documents(run, _IN_MEMORY)
    else:
        found = [_in_memory(cast("Spectrum", run))]
    if not found:
        raise UsageError("a run has no spectrum")
    return sorted(found, key=lambda spectrum: (spectrum.step is None, spectrum.step or 0))


def _read(path: str) -> list[JudgedSpectrum]:
    if any(path.endswith(ending) for ending in _WEIGHTS) and os.path.isfile(path):
        raise SpectrumFileError(
            "is a checkpoint, not a spectrum",
            where=path,
            fix="name its folder, or hessent spectrum for it first",
        )
    return read_every(path)


def _in_memory(spectrum: Spectrum) -> JudgedSpectrum:
    from hessent.report.selection import SpectrumEntry

    return judged_entry(SpectrumEntry(_IN_MEMORY, spectrum))


def _weights_in(folder: str) -> list[str]:
    """What looks like a checkpoint in a folder, by its name alone."""
    names: list[str] = []
    with suppress(OSError):  # whoever reads the spectra says what is wrong
        names = sorted(os.listdir(folder))
    return [
        os.path.join(folder, name)
        for name in names
        if not name.startswith(".")
        and not name.endswith(_COMPANIONS)
        and (name.endswith(_WEIGHTS) or _is_hugging_face(os.path.join(folder, name)))
    ]


def _is_hugging_face(path: str) -> bool:
    return os.path.basename(path).startswith("checkpoint-") and os.path.isdir(path)


def _is_missing(checkpoint: str) -> bool:
    """Whether there is no spectrum beside a checkpoint, or one of a run that did not end."""
    path = _beside(checkpoint)
    if not path.is_file():
        return True
    if not Path(f"{path}.partial").exists():
        return False
    from hessent.spectra.hdf5_reader import load

    return not load(path).complete


def _beside(checkpoint: str) -> Path:
    """Where `hessent spectrum` puts the spectrum of a checkpoint."""
    path = Path(checkpoint)
    ending = next((ending for ending in _WEIGHTS if path.name.endswith(ending) and not path.is_dir()), "")
    return path.with_name(path.name.removesuffix(ending) + _SPECTRUM)


def _shown(run: Given | Sequence[Given]) -> str:
    while isinstance(run, list | tuple) and run:
        run = run[0]
    return os.fspath(run) if isinstance(run, str | os.PathLike) else "run"


def _names(paths: Sequence[str]) -> list[str]:
    """Short names that differ: the last part of each path; as typed; or with a number."""
    short = [_short(path) for path in paths]
    if len(set(short)) < len(short):
        short = list(paths)
    return [
        name if short.index(name) == index else f"{name} ({short[: index + 1].count(name)})"
        for index, name in enumerate(short)
    ]


def _short(path: str) -> str:
    name = os.path.basename(os.path.normpath(path)) or path
    return name.removesuffix(".json").removesuffix(_SPECTRUM).removesuffix(".spectrum")
