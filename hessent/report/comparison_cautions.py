"""What else than the weights differs between runs that are compared: sentences for the reader."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hessent.errors import UsageError
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.comparison_rows import AT_THE_MARK, ComparedRun, Row
from hessent.spectra.made_otherwise import harmful

_DEFINITION = "curvature_definition"  # of the matrix: another one has another
# They follow from the checkpoint, or from what is shown beside them.
_OF_THE_CHECKPOINT = {"precondition_sha256", "precondition_definition"}
_MOST_SHOWN = 4


@dataclass(frozen=True)
class Caution:
    """A sentence, and whether it is about what `--strict` insists on: data, seed, settings, architecture."""

    text: str
    of_fingerprints: bool


def cautions_of(
    runs: Sequence[ComparedRun], rows: Sequence[Row], *, of_several_matrices: bool = False
) -> list[Caution]:
    """Return what a reader of the differences must know, each once.

    Parameters
    ----------
    runs : sequence of ComparedRun
        The first is the reference.
    rows : sequence of Row
        Checkpoints that are compared.
    of_several_matrices : bool
        Whether curvatures differ on purpose.

    Raises
    ------
    UsageError
        If the losses differ: no difference means anything then.
    """
    found: dict[Caution, None] = {}
    for row in rows:
        reference = row.checkpoints[0]
        for run, own in zip(runs, row.checkpoints, strict=True):
            if own is None:
                continue
            found |= dict.fromkeys(_of_one(run.name, own, row))
            if reference is not None and own is not reference:
                names = run.name, runs[0].name
                found |= dict.fromkeys(_of_pair(names, own, reference, on_purpose=of_several_matrices))
    return list(found)


def _of_one(name: str, own: JudgedSpectrum, row: Row) -> list[Caution]:
    cautions = []
    if own.synthetic:
        cautions.append(Caution(f"{name}: the data is made up: the numbers say nothing about the model", False))
    if not own.complete or own.part is not None:
        cautions.append(Caution(f"{own.file}: INCOMPLETE: blocks may be missing and intervals are wide", False))
    if row.progress is not None and own.progress is not None and abs(own.progress - row.progress) > AT_THE_MARK:
        nearest = (
            f"{name} has no checkpoint at {row.label}; the nearest, at {100 * own.progress:.3g} %, stands there"
        )
        cautions.append(Caution(nearest, False))
    return cautions


def _of_pair(
    names: tuple[str, str], own: JudgedSpectrum, reference: JudgedSpectrum, *, on_purpose: bool
) -> list[Caution]:
    name, first = names
    if own.loss != reference.loss:
        raise UsageError(
            f"the loss of {name} is {own.loss}, that of {first} is {reference.loss}",
            where=own.file,
            fix="measure alike",
        )
    texts = []
    on_purpose = on_purpose and own.curvature != reference.curvature
    if own.curvature != reference.curvature and not on_purpose:
        texts.append(f"the curvature of {name} is {own.curvature}, that of {first} is {reference.curvature}")
    if own.arch != reference.arch:
        texts.append(f"the architecture of {name} is {own.arch}, that of {first} is {reference.arch}")
    if own.data_sha256 != reference.data_sha256:
        texts.append(
            f"{name} was measured on {own.samples:,} samples of {own.data}, {first} on {reference.samples:,} "
            f"{'other samples' if own.data == reference.data else 'samples of ' + reference.data}: "
            "differences include that of the data, and their intervals are not paired"
        )
    if own.seed != reference.seed:
        texts.append(
            f"the seed of {name} is {own.seed}, that of {first} is {reference.seed}: intervals are not paired"
        )
    if own.spectrum is not None and reference.spectrum is not None:
        mine, theirs = harmful(own.spectrum.settings), harmful(reference.spectrum.settings)
        # What one kind of matrix alone has as a setting differs on purpose, too.
        keys = (mine.keys() & theirs.keys()) - {_DEFINITION} if on_purpose else mine.keys() | theirs.keys()
        texts += _of_settings(name, mine, first, theirs, sorted(keys - _OF_THE_CHECKPOINT))
    cautions = [Caution(text, True) for text in texts]
    shares = own.progress, reference.progress
    if shares[0] is not None and shares[1] is not None and abs(shares[0] - shares[1]) > AT_THE_MARK:
        apart = f"{name} is at {100 * shares[0]:.3g} % of its training, {first} at {100 * shares[1]:.3g} %"
        cautions.append(Caution(apart, False))
    return cautions


def _of_settings(
    name: str, own: Mapping[str, Any], first: str, other: Mapping[str, Any], keys: Sequence[str]
) -> list[str]:
    differing = [
        f"{key.replace('_', '-')} {own.get(key)} and {other.get(key)}"
        for key in keys
        if json.dumps(own.get(key), default=str) != json.dumps(other.get(key), default=str)
    ]
    if not differing:
        return []
    more = len(differing) - _MOST_SHOWN
    listed = ", ".join(differing[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return [f"{name} and {first} were measured with other settings: {listed}"]
