"""What `--update-baseline` writes over: which files, and how far the numbers in them move."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hessent.errors import UsageError
from hessent.measures.mini_batches import other_size
from hessent.report.checks.baseline_file import baseline_text
from hessent.report.checks.gate import baselines_of
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.checks.rules import WHOLE_MODEL, Rule
from hessent.report.checks.sentences import shown_measure
from hessent.report.checks.table import told
from hessent.report.tables import Column, Table

SCHEMA = "hessent.update/1"
_HEADLINE = ("trace", "lambda_max", "entropy_gap")


def baselines_to_update(rules: Sequence[Rule], baseline: str | None) -> tuple[str, ...]:
    """Return the files to write.

    Parameters
    ----------
    rules : sequence of Rule
        They may name baselines.
    baseline : str or None
        The one that was typed.

    Raises
    ------
    UsageError
        If there is none.
    """
    named = (baseline,) if baseline is not None else baselines_of(rules)
    if not named:
        raise UsageError("--update-baseline has nothing to write", fix="--baseline main.json")
    return named


def update_document(run: JudgedSpectrum, old: Mapping[str, JudgedSpectrum | None]) -> dict[str, Any]:
    """Return the JSON document of an update: the file, and whether its bytes are others now."""
    return {
        "schema": SCHEMA,
        "run": run.file,
        "baselines": [
            {"file": path, "existed": before is not None, "changed": has_changed(run, before)}
            for path, before in old.items()
        ],
    }


def update_table(run: JudgedSpectrum, path: str, before: JudgedSpectrum | None, rules: Sequence[Rule]) -> Table:
    """Build the table of what an update changed: measures of the rules, or the headline of the whole model.

    Parameters
    ----------
    run : JudgedSpectrum
        What is in the file now.
    path : str
        The file.
    before : JudgedSpectrum or None
        What was in it.
    rules : sequence of Rule
        Their measures are shown.
    """
    rows = [] if before is None else list(_rows(run, before, rules))
    facts = [("baseline", path)]
    if before is not None:
        facts.append(("before", told(before)))
    facts.append(("now", told(run)))
    return Table(
        columns=(
            Column("block", "block", "name"),
            Column("measure", "measure"),
            Column("before", "before", priority=1),
            Column("now", "now"),
        ),
        rows=tuple(rows),
        facts=tuple(facts),
        notes=tuple(_notes(run, before, rows)),
    )


def _rows(
    run: JudgedSpectrum, before: JudgedSpectrum, rules: Sequence[Rule]
) -> Iterator[tuple[str, str, str, str]]:
    wanted = [(rule.block, rule.measure) for rule in rules] or [
        (WHOLE_MODEL if WHOLE_MODEL in run.blocks else "*", measure) for measure in _HEADLINE
    ]
    for name, block in run.blocks.items():
        measures = dict.fromkeys(measure for glob, measure in wanted if fnmatch.fnmatchcase(name, glob))
        for measure in measures:
            there = before.blocks.get(name)
            now = block.measures[measure]
            if there is None:
                yield name, measure, "not there", shown_measure(now, measure)
            elif there.measures[measure] != now:
                yield name, measure, shown_measure(there.measures[measure], measure), shown_measure(now, measure)


def _notes(run: JudgedSpectrum, before: JudgedSpectrum | None, rows: Sequence[object]) -> Iterator[str]:
    if before is None:
        yield f"written: {len(run.blocks):,} blocks."
        return
    if not has_changed(run, before):
        yield "nothing has changed."
        return
    gone = [name for name in before.blocks if name not in run.blocks]
    if gone:
        yield f"{len(gone):,} blocks are no longer there: {', '.join(gone[:5])}{', …' * (len(gone) > 5)}."
    yield f"rewritten: {len(run.blocks):,} blocks."
    there = before.blocks
    sizes = {
        other_size(run.blocks[name].batch_size, there[name].batch_size) for name in run.blocks if name in there
    }
    yield from (f"The measures batch_… are of {differ}." for differ in sorted(filter(None, sizes)))
    if not rows:
        yield "What the rules read has not moved."


def has_changed(run: JudgedSpectrum, before: JudgedSpectrum | None) -> bool:
    """Whether the run's baseline is another document than the one before."""
    return before is None or baseline_text(run) != baseline_text(before)
