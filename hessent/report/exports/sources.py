"""From what was typed to spectra, each with the run it belongs to.

A run is a folder: files of one folder are the steps of one training.  It is called by the last part of its path, or
by as many parts as tell the runs of one export apart, so that the name does not depend on how the path was typed.
Where files of one folder are of several trainings, of other architectures or optimizer settings, each of these is a
run of its own: ``FOLDER/FILE``, with the name of its earliest file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hessent.errors import SpectrumFileError
from hessent.report.kinds import Kind
from hessent.report.selection import SpectrumEntry, training_of
from hessent.spectra.hdf5_reader import load_with_measures

_SPECTRA = ".spectrum.h5"
_MOST_FILES = 10_000
_NAMELESS = "run"


@dataclass(frozen=True)
class Source:
    """A spectrum that is exported.

    Attributes
    ----------
    run : str
        Name of its run, see above.
    entry : SpectrumEntry
        The spectrum, and its file as typed.
    modified : int
        When the file was last changed, in seconds since 1970.
    """

    run: str
    entry: SpectrumEntry
    modified: int

    @property
    def step(self) -> int | None:
        """Training step of the checkpoint."""
        return self.entry.spectrum.checkpoint.step

    @property
    def kind(self) -> Kind:
        """Which matrix it is of."""
        spectrum = self.entry.spectrum
        return Kind(spectrum.curvature, spectrum.preconditioner)


def read_sources(paths: Sequence[str]) -> list[Source]:
    """Return the spectra of files and folders, each file once.

    Parameters
    ----------
    paths : sequence of str
        Spectra files, and folders of them; those of a folder are returned by step.

    Raises
    ------
    SpectrumFileError
        If one cannot be read, or a folder holds none.
    """
    files: dict[str, str] = {}
    for path in paths:
        for file in _spectra_in(path) if os.path.isdir(path) else [path]:
            files.setdefault(os.path.abspath(file), file)
    names = run_names(dict.fromkeys(os.path.dirname(place) for place in files))
    found = [
        Source(names[os.path.dirname(place)], SpectrumEntry(file, *load_with_measures(file)), _modified(file))
        for place, file in files.items()
    ]
    found = _told_apart(found)
    typed = {path for path in paths if not os.path.isdir(path)}
    return _folders_by_step(found, typed)


def run_names(folders: Iterable[str]) -> dict[str, str]:
    """Return short names of folders that differ: the last part of each path, or as many as are needed.

    Parameters
    ----------
    folders : iterable of str
        Absolute paths that differ.
    """
    parts = {folder: Path(folder).parts[1:] for folder in folders}
    for depth in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {folder: "/".join(own[-depth:]) or _NAMELESS for folder, own in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {folder: folder if len(parts) > 1 else _NAMELESS for folder in parts}


def _told_apart(found: Sequence[Source]) -> list[Source]:
    """Name the trainings of a folder by their earliest files, where there are several."""
    trainings: dict[str, dict[str | None, list[Source]]] = {}
    for source in found:
        trainings.setdefault(source.run, {}).setdefault(training_of(source.entry), []).append(source)
    named = []
    for source in found:
        own = trainings[source.run]
        if len(own.keys() - {None}) > 1:
            earliest = min(own[training_of(source.entry)], key=lambda one: (one.step or 0, one.entry.file))
            file = os.path.basename(earliest.entry.file)
            stem = file.removesuffix(_SPECTRA)
            source = replace(source, run=f"{source.run}/{stem if stem.strip('.') else file}")
        named.append(source)
    return named


def _folders_by_step(found: Sequence[Source], typed: set[str]) -> list[Source]:
    """Put what came from folders in order of the steps, within its run; what was typed stays where it was."""
    ordered: list[Source] = []
    pending: list[Source] = []
    for source in found:
        if pending and (source.entry.file in typed or source.run != pending[-1].run):
            ordered += sorted(pending, key=lambda one: (one.step is None, one.step or 0))
            pending = []
        (ordered if source.entry.file in typed else pending).append(source)
    return ordered + sorted(pending, key=lambda one: (one.step is None, one.step or 0))


def _spectra_in(folder: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SPECTRA))
    except OSError as error:
        raise SpectrumFileError(f"cannot be read: {error.strerror}", where=folder) from error
    if len(names) > _MOST_FILES:
        raise SpectrumFileError(f"has more than {_MOST_FILES:,} spectra", where=folder, fix="name the files")
    if not names:
        raise SpectrumFileError(
            "no spectra in this folder",
            where=folder,
            expected=f"files *{_SPECTRA}",
            fix="hessent spectrum CHECKPOINT --arch ARCH for the checkpoints in it",
        )
    return [os.path.join(folder, name) for name in names]


def _modified(file: str) -> int:
    try:
        return max(0, int(os.stat(file).st_mtime))
    except OSError:  # it is gone since it was read
        return 0
