"""From what was typed to the spectrum that is judged: a spectra file, a JSON document, or a folder of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hessent.errors import SpectrumFileError, UsageError
from hessent.foreign.strict_json import MAX_BYTES, RefusedJsonError, parse_bytes
from hessent.report.checks.judged_spectrum import JudgedSpectrum, judged_documents, judged_entry
from hessent.report.checks.small_file import read_small

_SPECTRA = ".spectrum.h5"
_JSON = ".json"
_SUMMARY = b'"hessent.summary/1"'
_SNIFFED = 200  # bytes: the schema's name is the first member of a document
_STEP = re.compile(r"(?:^|[^0-9])([0-9]{1,12})(?:\.spectrum)?$")
_MOST_FILES = 10_000


def read_run(path: str, step: int | None = None) -> JudgedSpectrum:
    """Return the spectrum that is judged: the latest step of what `path` holds, or the one asked for.

    Parameters
    ----------
    path : str
        A spectra file, a ``hessent.summary/1`` or ``hessent.baseline/1`` document, or a folder of spectra files and
        summaries.
    step : int, optional
        Training step.

    Raises
    ------
    SpectrumFileError
        If it cannot be read.
    UsageError
        If there is no such step, or which one is the latest cannot be told.
    """
    if os.path.isdir(path):
        return _read_folder(path, step)
    return latest(_read_file(path), path, step)


def read_every(path: str) -> list[JudgedSpectrum]:
    """Return every spectrum of what `path` holds.

    Parameters
    ----------
    path : str
        See `read_run`.

    Raises
    ------
    SpectrumFileError
        If one cannot be read, or there is none.
    """
    if not os.path.isdir(path):
        return _read_file(path)
    return [run for name in _some_spectra_in(path) for run in _read_file(os.path.join(path, name))]


def latest(found: list[JudgedSpectrum], where: str, step: int | None = None) -> JudgedSpectrum:
    """Return the latest step, or the one asked for; two candidates are never chosen between by chance.

    Parameters
    ----------
    found : list of JudgedSpectrum
        At least one.
    where : str
        Where they were found, for messages.
    step : int, optional
        Training step.

    Raises
    ------
    UsageError
        If there is no such step, or several spectra claim it, or which is the latest cannot be told.
    """
    steps = sorted({run.step for run in found if run.step is not None})
    if step is not None:
        candidates = [run for run in found if run.step == step]
        if not candidates:
            held = ", ".join(map(str, steps)) or "none that is stated"
            raise UsageError(f"holds no step {step}", where=where, expected=f"one of its steps: {held}")
    elif len(found) == 1:
        return found[0]
    else:
        candidates = [run for run in found if steps and run.step == steps[-1]]
    if len(candidates) != 1 or (step is None and any(run.step is None for run in found)):
        raise UsageError(
            f"holds {len(found)} spectra, and which one is meant cannot be told by their steps",
            where=where,
            problems=[f"{run.file}: step {'unknown' if run.step is None else run.step}" for run in found[:12]],
            fix="name one file",
        )
    return candidates[0]


def _read_file(path: str) -> list[JudgedSpectrum]:
    if _begins_as_json(path):
        raw = read_small(path, MAX_BYTES, SpectrumFileError, "the document")
        try:
            document = parse_bytes(raw)
        except RefusedJsonError as error:
            raise SpectrumFileError(f"is not JSON that is read: {error}", where=path) from error
        return judged_documents(document, path)
    from hessent.report.selection import SpectrumEntry
    from hessent.spectra.hdf5_reader import load_with_measures

    return [judged_entry(SpectrumEntry(path, *load_with_measures(path)))]


def _begins_as_json(path: str) -> bool:
    """Tell by the content, not by the name; what cannot be opened is left to the reader of spectra files."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(_SNIFFED).lstrip()
    except OSError:
        return False
    return start[:1] in (b"{", b"[") or (not start and path.endswith(_JSON))


def _read_folder(folder: str, step: int | None) -> JudgedSpectrum:
    names = _some_spectra_in(folder)
    # Opening a file takes a moment, so where all names end in a step only the one that is meant is opened.
    numbers = {name: int(match[1]) for name in names if (match := _STEP.search(_stem(name)))}
    if len(numbers) == len(names) == len(set(numbers.values())):
        wanted = step if step is not None else max(numbers.values())
        for name, number in numbers.items():
            if number == wanted:
                path = os.path.join(folder, name)
                found = _read_file(path)
                if len(found) == 1 and found[0].step in (None, number):
                    return found[0]
    everything = [run for name in names for run in _read_file(os.path.join(folder, name))]
    return latest(everything, folder, step)


def _stem(name: str) -> str:
    return name.removesuffix(_JSON).removesuffix(".h5")


def _some_spectra_in(folder: str) -> list[str]:
    """Return what `spectra_in` does, at least one."""
    names = spectra_in(folder)
    if not names:
        raise SpectrumFileError(
            "no spectra in this folder",
            where=folder,
            expected="files *.spectrum.h5, or summaries *.json",
            fix="hessent spectrum CHECKPOINT --arch ARCH for the checkpoints in it",
        )
    return names


def spectra_in(folder: str) -> list[str]:
    """Return the names of spectra files, and of summaries of which there is no spectra file.

    Raises
    ------
    SpectrumFileError
        If the folder cannot be read, or is that of something else: it has far too many files.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise SpectrumFileError(f"cannot be read: {error.strerror}", where=folder) from error
    if len(names) > _MOST_FILES:
        raise SpectrumFileError(f"has more than {_MOST_FILES:,} files", where=folder, fix="name one file")
    spectra = [name for name in names if name.endswith(_SPECTRA)]
    stems = {name.removesuffix(_SPECTRA) for name in spectra}
    summaries = [
        name
        for name in names
        if name.endswith(_JSON)
        and name.removesuffix(_JSON).removesuffix(".spectrum") not in stems
        and _is_summary(Path(folder, name))
    ]
    return spectra + summaries


def _is_summary(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return _SUMMARY in file.read(_SNIFFED)
    except OSError:
        return False
