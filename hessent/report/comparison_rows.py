"""Which checkpoints of runs stand side by side: those at the same share of the training.

Rows are the shares 0, 1, 25, 50, 75 and 100 %, as far as two runs have a checkpoint near them; where there is no
such share, those at which two runs agree; and by steps, where the shares are not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hessent.errors import UsageError
from hessent.report.checks.judged_spectrum import JudgedSpectrum

MARKS = (0.0, 0.01, 0.25, 0.5, 0.75, 1.0)
_NEAR = {0.0: 0.005, 0.01: 0.005}  # how far a checkpoint may be from a mark
_NEAR_ELSEWHERE = 0.05
AT_THE_MARK = 0.005  # within this nothing is said of how near it is


@dataclass(frozen=True)
class ComparedRun:
    """A run: its name in tables, and its spectra by training progress."""

    name: str
    checkpoints: tuple[JudgedSpectrum, ...]


@dataclass(frozen=True)
class Row:
    """Checkpoints that are compared with each other.

    Attributes
    ----------
    progress : float or None
        Share of the training, 0 to 1; None where it is not known, or the runs were stopped at different shares.
    checkpoints : tuple of JudgedSpectrum or None
        One per run, in the order of the runs.
    """

    progress: float | None
    checkpoints: tuple[JudgedSpectrum | None, ...]

    @property
    def label(self) -> str:
        """The share in per cent, or the step, for people."""
        if self.progress is not None:
            return f"{100 * self.progress:.4g} %"
        steps = {spectrum.step for spectrum in self.checkpoints if spectrum is not None}
        step = steps.pop() if len(steps) == 1 else None
        return "—" if step is None else f"step {step:,}"


def matched_rows(runs: Sequence[ComparedRun]) -> tuple[Row, ...]:
    """Return the rows of a comparison, by progress; which run comes first makes no difference.

    Parameters
    ----------
    runs : sequence of ComparedRun
        At least two.

    Raises
    ------
    UsageError
        If nothing can be told to belong together.
    """
    if all(len(run.checkpoints) == 1 for run in runs):
        only = tuple(run.checkpoints[0] for run in runs)
        shares = {spectrum.progress for spectrum in only}
        return (Row(shares.pop() if len(shares) == 1 else None, only),)
    by_progress = all(spectrum.progress is not None for run in runs for spectrum in run.checkpoints)
    places = [_places(run, by_progress) for run in runs]
    rows = _rows_at_marks(places) if by_progress else []
    if not rows:
        shared = sorted({key for own in places for key in own if sum(key in other for other in places) > 1})
        rows = [
            Row(key if by_progress else None, tuple(own.get(key) for own in places))  # nothing near: exactly there
            for key in shared
        ]
    if not rows:
        raise UsageError(
            "the runs have no share of the training in common",
            problems=[f"{run.name}: {_held(run)}" for run in runs],
            fix="name one spectra file of each run",
        )
    return tuple(rows)


def _places(run: ComparedRun, by_progress: bool) -> dict[float, JudgedSpectrum]:
    """The checkpoints of a run by what they are matched by."""
    found: dict[float, JudgedSpectrum] = {}
    for spectrum in run.checkpoints:
        key = spectrum.progress if by_progress else spectrum.step
        if key is None:
            raise UsageError("says neither its share of the training nor its step", where=spectrum.file)
        if key in found:
            raise UsageError(
                "two spectra are of one step of a run",
                problems=[found[key].file, spectrum.file],
                fix="keep one of them in the folder, or name the files",
            )
        found[key] = spectrum
    return found


def _rows_at_marks(places: Sequence[dict[float, JudgedSpectrum]]) -> list[Row]:
    rows = []
    for mark in MARKS:
        nearest = tuple(_nearest(own, mark) for own in places)
        if sum(spectrum is not None for spectrum in nearest) > 1:
            rows.append(Row(mark, nearest))
    return rows


def _nearest(places: dict[float, JudgedSpectrum], mark: float) -> JudgedSpectrum | None:
    """The checkpoint nearest to a mark, among those that are nearer to no other."""
    own = [key for key in places if nearest_mark(key) == mark]
    return places[min(own, key=lambda key: (abs(key - mark), key))] if own else None


def nearest_mark(progress: float) -> float | None:
    """Return the mark that a share of the training stands for, None where it is near none."""
    mark = min(MARKS, key=lambda mark: abs(progress - mark))
    return mark if abs(progress - mark) <= _NEAR.get(mark, _NEAR_ELSEWHERE) else None


def _held(run: ComparedRun) -> str:
    return ", ".join(
        f"{100 * spectrum.progress:.4g} %" if spectrum.progress is not None else f"step {spectrum.step}"
        for spectrum in run.checkpoints[:12]
    )
