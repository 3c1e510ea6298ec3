"""The table of a check.

Columns
-------
outcome
    ``holds``, ``VIOLATED``, ``unsure`` (the interval does not decide) or ``UNKNOWN``; capitals where it fails the
    check, and ``(warn)`` behind a violation at that level.  What fails comes first.
block, measure
    What was judged.
bound
    The rule's bound.
now
    The measure of the run with its 95 % interval.
before, change
    The measure of the baseline, and what of the change is bounded: difference, percentage or quotient.
"""

from __future__ import annotations

from hessent.measures.mini_batches import OF_BATCHES
from hessent.report.checks.judged_spectrum import JudgedBlock, JudgedSpectrum
from hessent.report.checks.judgement import CheckReport, Result
from hessent.report.checks.sentences import (
    advice,
    closing_words,
    shown_measure,
    shown_quantity,
    verdict,
)
from hessent.report.tables import Cell, Column, Table

_ORDER = ("violated", "unknown", "unsure", "holds")
_FINGERPRINT = 12


def check_table(report: CheckReport, *, most_rows: int | None = None) -> Table:
    """Build the table of a check; see the module's docstring for the columns.

    Parameters
    ----------
    report : CheckReport
        All results.
    most_rows : int, optional
        Leave out what lies beyond, and say how much: a page that shows the table may be limited.
    """
    ordered = sorted(report.results, key=lambda r: (not r.fails, _ORDER.index(verdict(r)), r.rule.level))
    shown = ordered if most_rows is None else ordered[:most_rows]
    has_baseline = any(result.baseline is not None for result in report.results)
    notes = [closing_words(report), *_notes(report)]
    if len(shown) < len(ordered):
        notes.insert(1, f"{len(ordered) - len(shown):,} more rows are left out here.")
    # In a narrow terminal goes first what no bound is about: of changes that is what stands before and now.
    absolute = any(result.baseline is None for result in report.results)
    now = Column("now", "now", priority=1 if absolute else 2)
    change = (Column("before", "before", priority=3), Column("change", "change", priority=2 if absolute else 1))
    return Table(
        columns=(
            Column("outcome", "outcome"),
            Column("block", "block", "name"),
            Column("measure", "measure"),
            Column("bound", "bound"),
            now,
            *(change if has_baseline else ()),
        ),
        rows=tuple(_row(result, has_baseline) for result in shown),
        facts=_facts(report),
        notes=tuple(notes),
    )


def _row(result: Result, has_baseline: bool) -> tuple[Cell, ...]:
    rule = result.rule
    word = verdict(result)
    if result.fails:
        word = word.upper()
    elif word in ("violated", "unknown"):
        word += " (warn)"
    cells: tuple[Cell, ...] = (
        word,
        result.block,
        rule.measure,
        f"{rule.bound.kind.key} {rule.bound.shown}",
        shown_measure(result.run, rule.measure),
    )
    if not has_baseline:
        return cells
    if result.baseline is None:
        return (*cells, "", "")
    return (*cells, shown_measure(result.baseline, rule.measure), shown_quantity(result))


def _facts(report: CheckReport) -> tuple[tuple[str, str], ...]:
    facts = [("run", told(report.run))]
    facts += [("baseline", told(baseline)) for baseline in report.baselines.values()]
    facts += [("warning", warning) for warning in report.warnings]
    return tuple(facts)


def told(spectrum: JudgedSpectrum) -> str:
    """Return what was measured, on one line."""
    parts = [spectrum.file, spectrum.arch]
    if spectrum.step is not None:
        parts.append(f"step {spectrum.step:,}")
    parts.append(f"weights {spectrum.checkpoint_sha256[:_FINGERPRINT]}")
    parts.append(f"{spectrum.data}, {spectrum.samples:,} samples")
    if not spectrum.complete or spectrum.part is not None:
        parts.append("INCOMPLETE")
    return " · ".join(parts)


def _notes(report: CheckReport) -> list[str]:
    notes = [text for text in (advice(report),) if text is not None]
    reasons = dict.fromkeys(result.quantity.reason for result in report.results if result.is_unknown)
    notes += [f"unknown: {reason}." for reason in reasons if reason]
    whose = "of the population that the data was drawn from" if report.population else "for this data"
    notes.append(f"± and a–b: the 95 % interval {whose}; a number with neither is exact.")
    notes += _notes_on_batches(report)
    if report.baselines:
        paired = {result.paired for result in report.results if result.paired is not None}
        if paired == {True}:
            notes.append("change: its own interval, run and baseline compared probe by probe.")
        elif paired:
            unpaired = sum(result.paired is False for result in report.results)
            some = f"in {unpaired:,} rows " if True in paired else ""
            notes.append(f"change: {some}unpaired, made of the intervals of run and baseline.")
    return notes


def _notes_on_batches(report: CheckReport) -> list[str]:
    """Say of which mini-batches a measure is that depends on their size."""
    found: dict[str, None] = {}
    for result in report.results:
        if result.rule.measure in OF_BATCHES:
            found[f"now {samples_of_batches(report.run.blocks[result.block])}"] = None
            if result.rule.baseline is not None:
                other = report.baselines[result.rule.baseline].blocks[result.block]
                found[f"before {samples_of_batches(other)}"] = None
    return [f"batch_…: means over mini-batches; {', '.join(found)}."] if found else []


def samples_of_batches(block: JudgedBlock) -> str:
    """Return how many samples a block's mini-batches have, in words."""
    return "of a size that is not stated" if block.batch_size is None else f"of {block.batch_size:,} samples"
