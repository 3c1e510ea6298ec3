"""The block view of a comparison: which blocks differ most, and how unlike the blocks of each run are.

Columns
-------
block, size
    As in a summary.
measures
    Differences, run minus reference, each with its own 95 % interval.
distance, floor
    Jensen–Shannon distance (0 to 1) of the block's spectra in the two runs, and what the choice of probes alone
    makes of it: below the floor the two spectra cannot be told apart by it.
evidence, by
    The largest abs(difference) over its half-width among the measures shown, and of which measure; above 1 the
    interval excludes zero.  Unknown (—) where the difference is exact: it comes first, by its relative size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hessent.measures.functionals import only_trace
from hessent.measures.heterogeneity import Heterogeneity, distance, heterogeneity, profile
from hessent.report.comparison_batches import notes_on_batches
from hessent.report.kfac_quality import kfac_qualities
from hessent.report.measure_columns import measure_column
from hessent.report.numbers import format_number
from hessent.report.tables import Cell, Column, Table

if TYPE_CHECKING:
    from hessent.report.checks.judged_spectrum import JudgedSpectrum
    from hessent.report.comparison import Comparison, RunDifference

_FULL = "full"
_ONE_IN = 20  # intervals of 95 % miss by chance


@dataclass(frozen=True)
class Evidence:
    """How much a block differs: the strongest difference over its half-width, and its relative size."""

    ratio: float
    relative: float
    measure: str

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts the strongest first."""
        return (-self.ratio, -self.relative)


def evidence_of(found: RunDifference, comparison: Comparison) -> Evidence:
    """Return the strongest evidence that a block differs, among the measures shown.

    Parameters
    ----------
    found : RunDifference
        Its differences.
    comparison : Comparison
        Where they stand.
    """
    strongest = Evidence(0.0, 0.0, "")
    for name in comparison.measures:
        difference = found.measures[name]
        if not difference.value or difference.half_width is None:
            continue
        width = difference.half_width
        ratio = abs(difference.value) / width if width > 0.0 else math.inf
        own = Evidence(ratio, abs(difference.value) / _scale(found, name), name)
        strongest = min(strongest, own, key=lambda one: one.rank)
    return strongest


def block_tables(comparison: Comparison) -> list[Table]:
    """Build a table for each run after the first, and one of how good K-FAC is wherever it stands beside another.

    See the module's docstring for the columns.
    """
    tables = []
    for index, run in enumerate(comparison.runs[1:], start=1):
        own = [found for found in comparison.differences if found.run == run.name]
        if own:
            tables.append(_table(comparison, own, index))
    if tables:
        notes = (*tables[-1].notes, *notes_on_batches(comparison), *_notes(comparison))
        tables[-1] = replace(tables[-1], notes=notes)
    return [*tables, *(quality.table() for quality in kfac_qualities(comparison))]


def heterogeneities(comparison: Comparison) -> Iterator[tuple[str, JudgedSpectrum, Heterogeneity]]:
    """Yield, for each run whose coefficients are at hand, the distances between its blocks at the last row."""
    for run, own in zip(comparison.runs, comparison.rows[-1].checkpoints, strict=True):
        if own is None or own.spectrum is None:
            continue
        parts = [b for b in own.spectrum.blocks if b.name != _FULL and b.name in comparison.blocks]
        found = heterogeneity(parts)
        if len(found.names) > 1:
            yield run.name, own, found


def _table(comparison: Comparison, own: list[RunDifference], index: int) -> Table:
    ranked = sorted(((evidence_of(found, comparison), found) for found in own), key=lambda pair: pair[0].rank)
    first = own[0]
    measures = [
        replace(
            measure_column(name, 1.0), kind="estimate", title=measure_column(name, 1.0).title.replace("≥", "bound")
        )
        for name in comparison.measures
    ]
    return Table(
        columns=(
            Column("run", "run", "name", audience="programs"),
            Column("reference", "reference", "name", audience="programs"),
            Column("progress", "progress", "number", audience="programs"),
            Column("block", "block", "name"),
            Column("size", "size", "count", priority=7),
            *measures,
            Column("distance", "distance", "number", priority=5),
            Column("floor", "floor", "number", priority=6),
            Column("evidence", "evidence", "number"),
            Column("by", "by", priority=6),
        ),
        rows=tuple(_row(evidence, found, comparison, index) for evidence, found in ranked),
        title=f"{first.run} − {first.reference}, at {first.row.label}: the blocks that differ most come first",
        facts=tuple(("warning", text) for text in comparison.warnings) if index == 1 else (),
    )


def _row(evidence: Evidence, found: RunDifference, comparison: Comparison, index: int) -> tuple[Cell, ...]:
    far, floor = _distance(found, index)
    reference = found.row.checkpoints[0]
    assert reference is not None
    return (
        found.run,
        found.reference,
        found.row.progress,
        found.block,
        reference.blocks[found.block].size,
        *(found.measures[name].estimate for name in comparison.measures),
        far,
        floor,
        evidence.ratio if math.isfinite(evidence.ratio) else None,
        measure_column(evidence.measure, 1.0).title if evidence.measure else "",
    )


def _distance(found: RunDifference, index: int) -> tuple[float | None, float | None]:
    """Distance between the spectra of a block in two runs, and its floor."""
    own, reference = found.row.checkpoints[index], found.row.checkpoints[0]
    if own is None or reference is None or own.spectrum is None or reference.spectrum is None:
        return None, None
    blocks = own.spectrum.block(found.block), reference.spectrum.block(found.block)
    if any(only_trace(block) for block in blocks):
        return None, None
    one, other = (profile(block) for block in blocks)
    floor = math.sqrt(one.noise + other.noise)
    return distance(one, other), min(floor, 1.0)


def _scale(found: RunDifference, name: str) -> float:
    """What a difference is relative to: the sizes of both numbers together."""
    values = [
        abs(own.blocks[found.block].measures[name].value or 0.0)
        for own in found.row.checkpoints
        if own is not None and found.block in own.blocks
    ]
    return max(values) or 1.0


def _notes(comparison: Comparison) -> list[str]:
    shown = len(comparison.differences) * len(comparison.measures)
    notes = [
        "evidence: |difference| over its half-width, the largest of the row; above 1 the interval excludes zero. "
        f"Of {shown:,} intervals about {shown / _ONE_IN:,.0f} exclude the truth by chance.",
        "distance: Jensen–Shannon, 0 to 1, of a block in both runs; floor: what other probes alone make of it.",
    ]
    if any(math.isinf(evidence_of(found, comparison).ratio) for found in comparison.differences):
        notes[0] += " A difference without ± is exact; such blocks (evidence —) come first."
    for name, _, found in heterogeneities(comparison):
        pairs = np.triu_indices(len(found.names), 1)
        far = int(np.argmax(found.distances[pairs]))
        mean, floor = float(found.distances[pairs].mean()), float(found.floors[pairs].mean())
        apart = found.names[pairs[0][far]], found.names[pairs[1][far]]
        notes.append(
            f"{name}: its blocks are {format_number(mean, 2)} apart on average (floor {format_number(floor, 2)}); "
            f"farthest are {apart[0]} and {apart[1]}: {format_number(float(found.distances[pairs][far]), 2)}."
        )
    return notes
