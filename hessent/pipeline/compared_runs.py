"""`hessent compare` as one call: find the spectra of runs, measure what is missing, compare.

In a folder with checkpoints, those at the shares of the training that are compared are measured where their
spectrum is missing, was stopped early, or is no longer of these weights; the same command goes on from there.
Where nothing is missing, torch is not loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hessent.errors import SpectrumFileError, UsageError
from hessent.pipeline.asked import Asked
from hessent.pipeline.run_spectra import SPECTRUM, Finding, State, is_weights, look_through
from hessent.report.checks.judged_spectrum import JudgedSpectrum, judged_documents, judged_entry
from hessent.report.checks.spectrum_files import read_every, spectra_in
from hessent.report.comparison import Comparison, compare_runs
from hessent.report.comparison_cautions import Caution
from hessent.report.comparison_rows import ComparedRun
from hessent.report.kinds import Kind, kind_among, kind_of, of_kind

if TYPE_CHECKING:
    from hessent.spectra.model import Spectrum

Measure = Callable[[Sequence[Finding]], None]
"""Measures checkpoints and leaves their spectra beside them."""

_IN_MEMORY = "(in memory)"
Given = str | os.PathLike[str] | Mapping[str, Any] | Any


def compare(
    *runs: Given | Sequence[Given],
    measures: Sequence[str] = (),
    blocks: Sequence[str] = (),
    by_block: bool = False,
    strict: bool = False,
    curvatures: Sequence[str] = (),
    asked: Asked | None = None,
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
        Refuse runs of other data, seeds or settings, and spectra that are no longer of the weights beside them.
    curvatures : sequence of str
        Matrices whose spectra are compared: each run becomes as many runs, and one is enough.  By default the
        Hessian's, or the only ones there are.
    asked : Asked, optional
        How the spectra beside checkpoints are meant to have been measured; by default any settings will do.
    measure : callable, optional
        Called once with all checkpoints, of all runs, whose spectrum is missing, unfinished or stale; without it
        only spectra are read.

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
    found, cautions = read_runs(*runs, curvatures=curvatures, asked=asked, measure=measure)
    return compare_runs(
        found,
        measures=measures,
        blocks=blocks,
        by_block=by_block,
        strict=strict,
        cautions=cautions,
        of_several_matrices=len(set(curvatures)) > 1,
    )


def read_runs(
    *runs: Given | Sequence[Given],
    curvatures: Sequence[str] = (),
    asked: Asked | None = None,
    measure: Measure | None = None,
) -> tuple[list[ComparedRun], list[Caution]]:
    """Return the spectra of runs by step, and what is known of them beyond what they say themselves.

    Parameters
    ----------
    *runs, curvatures, asked, measure
        See `compare`; one run will do here.

    Raises
    ------
    UsageError
        If a run has no spectrum, or which one is meant cannot be told.
    SpectrumFileError
        If a file cannot be read.
    """
    kinds: list[Kind | None] = [Kind.named(curvature) for curvature in dict.fromkeys(curvatures)]
    named = zip(_names([_shown(run) for run in runs]), runs, strict=True)
    looked_at = [
        _Look.at(run, name, kind, asked or Asked(), measuring=measure is not None)
        for name, run in named
        for kind in kinds or [None]
    ]
    cautions = [Caution(finding.caution, True) for look in looked_at for finding in look.not_measured]
    to_measure = [finding for look in looked_at for finding in look.to_measure]
    if measure is not None and to_measure:
        measure(list(dict.fromkeys(to_measure)))  # a run may be held against itself
    several = len(kinds) > 1
    found = [ComparedRun(look.full_name if several else look.name, tuple(look.spectra())) for look in looked_at]
    return found, cautions


@dataclass(frozen=True)
class _Look:
    """The spectra of a run as they lie there, and what is to be said of them.

    Attributes
    ----------
    run : Given or sequence of these
        As given.
    name : str
        Its short name.
    kind : Kind or None
        The matrix that was asked for.
    found : tuple of JudgedSpectrum
        Every spectrum that was there.
    to_measure, not_measured : tuple of Finding
        What is missing, unfinished or stale, and what of it stays as it is.
    """

    run: Given | Sequence[Given]
    name: str
    kind: Kind | None
    found: tuple[JudgedSpectrum, ...]
    to_measure: tuple[Finding, ...] = ()
    not_measured: tuple[Finding, ...] = ()

    @classmethod
    def at(
        cls, run: Given | Sequence[Given], name: str, kind: Kind | None, asked: Asked, *, measuring: bool
    ) -> _Look:
        """Look through a run."""
        found = _read(run)
        to_measure, not_measured = [], []
        for folder in _folders(run):
            own = [s for s in found if os.path.dirname(s.file) == os.path.dirname(os.path.join(folder, ""))]
            meant = kind or kind_among(own, folder)
            own = [spectrum for spectrum in own if kind_of(spectrum) == meant]
            may_measure = measuring and meant.is_plain  # what others are preconditioned by, nothing here says
            for finding in look_through(folder, meant, own, asked, measuring=may_measure):
                if may_measure and finding.state is not State.UNSURE:
                    to_measure.append(finding)
                elif finding.state in (State.STALE, State.UNSURE):
                    not_measured.append(finding)
        return cls(run, name, kind, tuple(found), tuple(to_measure), tuple(not_measured))

    @property
    def full_name(self) -> str:
        """The name with that of the matrix."""
        return self.name if self.kind is None else f"{self.name} ({self.kind.name})"

    def spectra(self) -> list[JudgedSpectrum]:
        """Return the spectra that are compared, by step; read anew where some have been measured."""
        found = _read(self.run) if self.to_measure else list(self.found)
        if not found:
            raise _nothing(self.run)
        where = _shown(self.run)
        chosen = of_kind(found, self.kind or kind_among(found, where), where)
        return sorted(chosen, key=lambda spectrum: (spectrum.step is None, spectrum.step or 0))


def _folders(run: Given | Sequence[Given]) -> list[str]:
    parts = run if isinstance(run, list | tuple) else [run]
    return [os.fspath(part) for part in parts if isinstance(part, str | os.PathLike) and os.path.isdir(part)]


def _read(run: Given | Sequence[Given]) -> list[JudgedSpectrum]:
    """Every spectrum of a run; none, if it is a folder that has none yet."""
    if isinstance(run, list | tuple):
        return [spectrum for one in run for spectrum in _read(one)]
    if isinstance(run, str | os.PathLike):
        return _read_path(os.fspath(run))
    if isinstance(run, Mapping):
        return judged_documents(run, _IN_MEMORY)
    return [_in_memory(cast("Spectrum", run))]


def _read_path(path: str) -> list[JudgedSpectrum]:
    if is_weights(path) and os.path.isfile(path):
        raise SpectrumFileError(
            "is a checkpoint, not a spectrum",
            where=path,
            fix="name its folder, or hessent spectrum for it first",
        )
    if os.path.isdir(path) and not spectra_in(path):
        return []
    return read_every(path)


def _nothing(run: Given | Sequence[Given]) -> UsageError | SpectrumFileError:
    folders = _folders(run)
    if not folders:
        return UsageError("a run has no spectrum")
    return SpectrumFileError(
        "no spectra in this folder",
        where=folders[0],
        expected="checkpoints, files *.spectrum.h5, or summaries *.json",
        fix="hessent spectrum CHECKPOINT --arch ARCH for the checkpoints in it",
    )


def _in_memory(spectrum: Spectrum) -> JudgedSpectrum:
    from hessent.report.selection import SpectrumEntry

    return judged_entry(SpectrumEntry(_IN_MEMORY, spectrum))


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
    return name.removesuffix(".json").removesuffix(SPECTRUM).removesuffix(".spectrum")
