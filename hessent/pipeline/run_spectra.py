"""The spectra beside the checkpoints of a run: which are missing, and which are no longer of what lies there.

A spectrum stands beside its checkpoint, under the name that `hessent spectrum` gives it, and holds the fingerprint
of the weights it was measured on.  Times and sizes of files say too little, so the fingerprint is taken anew each
time: about as fast as reading, and of safetensors without torch.  Of the settings those count that were typed now.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from hessent.checkpoint.fingerprint import fingerprint
from hessent.errors import CheckpointError
from hessent.pipeline.asked import Asked
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.comparison_rows import nearest_mark
from hessent.report.kinds import Kind, kind_of
from hessent.spectra.made_otherwise import differences
from hessent.spectra.model import Spectrum
from hessent.storage.file_kinds import WEIGHT_SUFFIXES

_COMPANIONS = (".optim.safetensors",)
SPECTRUM = ".spectrum.h5"
_WITHOUT_PRODUCTS = "kfac"  # so a budget of products says nothing about it
_BARE_WORD = re.compile(r"[A-Za-z0-9_-]+")


class State(Enum):
    """What is to be said of the spectrum of a checkpoint."""

    MISSING = "missing"
    UNFINISHED = "unfinished"
    STALE = "stale"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Finding:
    """A checkpoint whose spectrum cannot be taken as it is.

    Attributes
    ----------
    checkpoint : str
        Its path.
    kind : Kind
        The matrix whose spectrum is meant.
    state : State
        Missing, unfinished, stale (of other weights or settings), or unsure: the checkpoint cannot be read.
    why : str
        A clause about the spectrum.
    """

    checkpoint: str
    kind: Kind
    state: State
    why: str

    @property
    def label(self) -> str:
        """The checkpoint, with the matrix where it is not the Hessian."""
        return self.checkpoint if self.kind == Kind() else f"{self.checkpoint} ({self.kind.name})"

    @property
    def caution(self) -> str:
        """A sentence for those who compare the spectrum all the same."""
        return f"{beside(self.checkpoint, self.kind)}: {self.why}"


def is_weights(name: str) -> bool:
    """Whether a file looks like weights, by its name alone."""
    return name.endswith(WEIGHT_SUFFIXES) and not name.endswith(_COMPANIONS)


def beside(checkpoint: str, kind: Kind) -> Path:
    """Return where `hessent spectrum` puts the spectrum of a checkpoint.

    Parameters
    ----------
    checkpoint : str
        Its path.
    kind : Kind
        The matrix.
    """
    path = Path(checkpoint)
    ending = next((ending for ending in WEIGHT_SUFFIXES if path.name.endswith(ending) and not path.is_dir()), "")
    part = "" if kind == Kind() else f".{kind.name}"
    return path.with_name(path.name.removesuffix(ending) + part + SPECTRUM)


def look_through(
    folder: str, kind: Kind, spectra: Sequence[JudgedSpectrum], asked: Asked, *, measuring: bool
) -> list[Finding]:
    """Return the checkpoints of a run, at the shares of the training compared, that need a look, by progress.

    Parameters
    ----------
    folder : str
        As typed.
    kind : Kind
        The matrix whose spectra are compared.
    spectra : sequence of JudgedSpectrum
        Those in the folder, of that kind.
    asked : Asked
        What was typed.
    measuring : bool
        Whether what is missing will be measured; else those without a spectrum are left out.

    Raises
    ------
    CheckpointError
        If the checkpoints cannot be put in order.
    HessentError
        If what was typed makes no sense for a checkpoint.
    """
    by_name = {os.path.basename(spectrum.file): spectrum for spectrum in spectra}
    known = {path: by_name.get(beside(path, kind).name) for path in _weights_in(folder)}
    found = [_finding(path, kind, known.get(path), asked) for path in _compared(folder, known, measuring)]
    return [finding for finding in found if finding is not None]


def without_spectrum(folder: str, spectra: Sequence[JudgedSpectrum]) -> list[str]:
    """Return the checkpoints in a folder that none of its spectra, all of one kind, is of; by their names alone.

    Parameters
    ----------
    folder : str
        As typed.
    spectra : sequence of JudgedSpectrum
        Of that folder.
    """
    files = {os.path.basename(spectrum.file) for spectrum in spectra}
    kinds = {kind_of(spectrum) for spectrum in spectra} or {Kind()}
    return [path for path in _weights_in(folder) if not any(beside(path, kind).name in files for kind in kinds)]


def _compared(folder: str, known: Mapping[str, JudgedSpectrum | None], measuring: bool) -> list[str]:
    """The checkpoints nearest to the shares of the training that are compared; all, where shares are not known."""
    places: list[tuple[str, float | None]]
    if measuring and not all(known.values()):
        from hessent.checkpoint.run import open_run  # loads torch

        entries = open_run(folder).checkpoints
        itself = [entry.path for entry in entries] == [folder]  # one checkpoint that is a folder
        places = [(path, None) for path in known] if itself else [(e.path, e.progress) for e in entries]
    else:
        places = [(path, spectrum.progress) for path, spectrum in known.items() if spectrum is not None]
    nearest: dict[float, tuple[float, str]] = {}
    for path, progress in places:
        mark = None if progress is None else nearest_mark(progress)
        if progress is not None and mark is not None:
            candidate = (abs(progress - mark), path)
            nearest[mark] = min(nearest.get(mark, candidate), candidate)
    chosen = {path for _, path in nearest.values()} or {path for path, _ in places}
    return [path for path, _ in places if path in chosen]


def _finding(path: str, kind: Kind, judged: JudgedSpectrum | None, asked: Asked) -> Finding | None:
    """What is to be said of the spectrum of a checkpoint; None where it can be taken as it is."""
    if judged is None or judged.spectrum is None:
        return Finding(path, kind, State.MISSING, "there is no spectrum yet")
    try:
        now = fingerprint(path)
    except CheckpointError as error:
        why = f"its checkpoint cannot be read ({error.found}), so whether it is of these weights is not known"
        return Finding(path, kind, State.UNSURE, why)
    if now != judged.checkpoint_sha256:
        return Finding(path, kind, State.STALE, "the weights of its checkpoint have changed since it was measured")
    differing = _made_otherwise(judged.spectrum, asked, path)
    if differing:
        return Finding(path, kind, State.STALE, f"it was measured otherwise than asked now: {'; '.join(differing)}")
    if not judged.complete and Path(f"{beside(path, kind)}.partial").exists():
        return Finding(path, kind, State.UNFINISHED, "its measurement was stopped early")
    return None


def _made_otherwise(spectrum: Spectrum, asked: Asked, checkpoint: str) -> list[str]:
    """A line for each thing that was typed and that a spectrum was not made with."""
    typed: dict[str, float | None] = {"seed": asked.seed}
    if spectrum.curvature != _WITHOUT_PRODUCTS:
        typed |= {"rtol": asked.rtol, "max-matvecs": asked.max_matvecs}
    found = differences(spectrum, {name: value for name, value in typed.items() if value is not None})
    held, available = spectrum.data.samples, spectrum.data.available
    if asked.samples is not None and min(asked.samples, available) != held:
        found.append(f"samples: {held} in the file, {asked.samples} now")
    unclear = []
    if asked.arch not in (None, spectrum.checkpoint.arch):
        unclear.append("arch")
    if asked.data is not None and not _is_same_name(asked.data, spectrum.data.name):
        unclear.append("data")
    if unclear and not found:
        # A path, a factory, another name of the same: what that comes to, only preparing a measurement tells.
        from hessent.pipeline.spectrum_run import made_otherwise

        alike = replace(asked, samples=asked.samples or held, seed=spectrum.seed)
        # Which architecture and data are meant, a preconditioner does not change.
        found = made_otherwise(spectrum, alike.request(checkpoint, spectrum.curvature), unclear)
    return found


def _is_same_name(typed: str, name: str) -> bool:
    """Whether data is surely the same: a built-in name, and no file or folder, whose content may have changed."""
    return typed == name and _BARE_WORD.fullmatch(typed) is not None and not os.path.exists(typed)


def _weights_in(folder: str) -> list[str]:
    """What looks like a checkpoint in a folder, by its name alone."""
    names: list[str] = []
    with suppress(OSError):  # whoever reads the spectra says what is wrong
        names = sorted(os.listdir(folder))
    return [
        os.path.join(folder, name)
        for name in names
        if not name.startswith(".") and (is_weights(name) or _is_hugging_face(os.path.join(folder, name)))
    ]


def _is_hugging_face(path: str) -> bool:
    return os.path.basename(path).startswith("checkpoint-") and os.path.isdir(path)
