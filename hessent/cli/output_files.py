"""The files that a command writes because an option names them: looked at before anything is measured.

A result takes the place of an earlier one without a question, for commands are typed again.  It must not take the
place of what cannot be had back: a file that this command reads, another result of it, a checkpoint, a spectrum.
Nor is it worth an hour of measuring to learn that a folder does not exist.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hessent.errors import UsageError
from hessent.storage.file_kinds import FileKind, kind_of_file

if TYPE_CHECKING:
    from hessent.pipeline.request import SpectrumRequest

_STANDARD_OUTPUT = "-"
_ANOTHER_NAME = "another name"


@dataclass(frozen=True)
class OutputFile:
    """A file that is to be written.

    Attributes
    ----------
    option : str
        Which option names it.
    path : str or None
        As typed; None where the option was not given.
    is_spectrum : bool
        Whether a spectrum is written: that alone may replace one.
    is_default : bool
        Whether nobody typed it.  Then it only keeps others away; whether it can be written is seen elsewhere.
    """

    option: str
    path: str | None
    is_spectrum: bool = False
    is_default: bool = False


@dataclass(frozen=True)
class _Problem:
    found: str
    fix: str = _ANOTHER_NAME


def check_outputs(outputs: Sequence[OutputFile], inputs: Iterable[str | None] = ()) -> None:
    """Refuse files that cannot be written, or would take the place of something that cannot be had back.

    Parameters
    ----------
    outputs : sequence of OutputFile
        All that the command writes.
    inputs : iterable of str or None
        What it reads, as typed: files, and values in which the name of a file may stand, as in ``arrays:FILE``.

    Raises
    ------
    UsageError
        Telling all that is wrong with any of them.
    """
    written = [one for one in outputs if one.path is not None]
    read = [file for text in inputs if text for file in _files_in(text)]
    found: list[tuple[str, _Problem]] = []
    for index, one in enumerate(written):
        others = [other for place, other in enumerate(written) if place < index or other.is_default]
        problem = None if one.is_default else _problem(one, others, read)
        if problem is not None:
            found.append((f"{one.option} {one.path}", problem))
    if len(found) == 1:
        where, problem = found[0]
        raise UsageError(problem.found, where=where, fix=problem.fix)
    if found:
        raise UsageError(
            "some files are not to be written so",
            problems=[f"{where}: {problem.found}" for where, problem in found],
            fix="; ".join(dict.fromkeys(problem.fix for _, problem in found)),
        )


def read_for(request: SpectrumRequest) -> list[str | None]:
    """Return what a command reads that measures a checkpoint, for `check_outputs`."""
    from hessent.pipeline.configuration import find_config

    config = None
    with suppress(UsageError, OSError, RuntimeError):  # what is wrong with it is told where it is read
        config = find_config(request.checkpoint)[1]
    named = [request.checkpoint, request.arch, request.data, request.loss, request.precondition]
    return [*named, None if config is None else str(config)]


def read_of(runs: Iterable[str]) -> list[str]:
    """Return the files of runs, for `check_outputs`: spectra files and summaries, and those in folders of them."""
    from hessent.report.checks.spectrum_files import spectra_in

    files = []
    for run in runs:
        files += [os.path.join(run, name) for name in spectra_in(run)] if os.path.isdir(run) else [run]
    return files


def _files_in(text: str) -> list[str]:
    """Return the files that a value may name: FILE, KIND:FILE, KIND:FILE?SETTINGS or FILE:FACTORY."""
    plain = text.partition("?")[0]
    names = (text, plain, plain.partition(":")[2], plain.rpartition(":")[0])
    return [name for name in names if os.path.isfile(name)]


def _problem(one: OutputFile, others: Sequence[OutputFile], read: Sequence[str]) -> _Problem | None:
    path = one.path or ""
    if path == _STANDARD_OUTPUT:
        return _Problem("is no name of a file, and standard output has the results", "a name; ./- if - is meant")
    unfit = _unfit_place(path)
    if unfit is not None:
        return unfit
    if any(_same(path, file) for file in read):
        link = "is a link to" if os.path.islink(path) else "is"
        return _Problem(f"{link} a file that this command reads")
    for other in others:
        if _same(path, other.path or ""):
            return _Problem(f"is the file that {other.option} writes")
    kind = kind_of_file(path)
    if kind is None or (one.is_spectrum and kind is FileKind.SPECTRUM):
        return None
    return _Problem(f"is {kind}, and is not replaced by something else", f"{_ANOTHER_NAME}, or remove it first")


def _unfit_place(path: str) -> _Problem | None:
    """Say why no file can be written there."""
    if "\0" in path:
        return _Problem("holds a NUL character, which no name of a file may")
    if not path or os.path.isdir(path):
        return _Problem("is a folder; a file is written", "the name of a file")
    target = os.path.realpath(path)  # what a link leads to is what is written
    folder, shown = os.path.dirname(target), os.path.dirname(path) or "."
    if os.path.islink(path):
        shown = folder
    if not os.path.exists(folder):
        return _Problem(f"the folder '{shown}' does not exist", f"mkdir -p {shlex.quote(shown)}")
    if not os.path.isdir(folder):
        return _Problem(f"'{shown}' is not a folder")
    if os.path.exists(target) and not os.path.isfile(target):
        return _Problem("is not a regular file, and only such a one can be replaced")
    if not os.access(folder, os.W_OK | os.X_OK):
        return _Problem(f"there is no permission to write into '{shown}'", f"chmod u+w {shlex.quote(shown)}")
    return None


def _same(first: str, second: str) -> bool:
    """Whether two names are of one file, through links too, also where it is not there yet."""
    with suppress(OSError):
        return os.path.samefile(first, second)
    return os.path.realpath(first) == os.path.realpath(second)
