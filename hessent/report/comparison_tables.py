"""The tables of a comparison: the measures of each run over its training, then the differences to the first run.

Columns
-------
at
    Share of the training done, or the step.
run, step
    Whose checkpoint; in the second table the run and the reference that is subtracted.
block
    Where there is more than one.
measures
    With 95 % intervals; a difference has its own.
λ_max/limit
    Over the largest eigenvalue with which the optimizer's steps are stable, where metadata tell it (`stability`).
paired
    Of how many differences in the row the interval was had by comparing probe by probe.

For programs (CSV) the two tables are one: `reference` is empty in the rows of runs.
"""

from __future__ import annotations

from dataclasses import replace

from hessent.estimate import Estimate
from hessent.measures.stability import limit_of
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.checks.table import told
from hessent.report.comparison import Comparison, RunDifference
from hessent.report.comparison_batches import notes_on_batches
from hessent.report.comparison_population import population_differences
from hessent.report.comparison_rows import Row
from hessent.report.measure_columns import measure_column
from hessent.report.tables import Cell, Column, Table, without_empty_columns

_MINUS = " − "
_LARGEST = "lambda_max"


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Build both tables, and where it is known what holds for the population, one of that for people.

    See the module's docstring for the columns.
    """
    many = len(comparison.blocks) > 1
    population = population_differences(comparison)
    both = [_table_of_runs(comparison, many), _table_of_differences(comparison, many)]
    return both if population is None else [*both, population]


def _table_of_runs(comparison: Comparison, many: bool) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for row in comparison.rows:
        for block in comparison.blocks:
            for run, own in zip(comparison.runs, row.checkpoints, strict=True):
                if own is None or block not in own.blocks:
                    continue
                measures = own.blocks[block].measures
                cells = (measures[name] for name in comparison.measures)
                place = (row.label, _progress(row), run.name, run.name, None, own.step, block)
                edge = _share_of_limit(own, block) if _LARGEST in comparison.measures else None
                rows.append((*place, *cells, own.blocks[block].batch_size, edge, ""))
    notes = [] if many else [f"All numbers are those of {_named(comparison.blocks[0])}."]
    notes += notes_on_batches(comparison)
    table = Table(
        columns=_columns(comparison, many, of_differences=False),
        rows=tuple(rows),
        facts=_facts(comparison),
        notes=(*notes, *_notes_on_limits(comparison)),
    )
    return without_empty_columns(table)


def _table_of_differences(comparison: Comparison, many: bool) -> Table:
    rows = tuple(
        (
            found.row.label,
            _progress(found.row),
            found.run + _MINUS + found.reference,
            found.run,
            found.reference,
            None,
            found.block,
            *(found.measures[name].estimate for name in comparison.measures),
            None,
            None,
            _paired(found, comparison),
        )
        for found in comparison.differences
    )
    return Table(
        columns=_columns(comparison, many, of_differences=True),
        rows=rows,
        notes=(comparison.sentence, *_notes(comparison)),
        title=f"Differences to {comparison.runs[0].name}",
    )


def _columns(comparison: Comparison, many: bool, *, of_differences: bool) -> tuple[Column, ...]:
    measures = [measure_column(name, 1.0) for name in comparison.measures]
    if of_differences:  # of a bracket or a bound too, what is shown is how far it moved
        measures = [replace(column, kind="estimate", title=_plain(column.title)) for column in measures]
    return (
        Column("at", "at"),
        Column("progress", "progress", "number", audience="programs"),
        Column("shown", "difference" if of_differences else "run", "name", audience="people"),
        Column("run", "run", "name", audience="programs"),
        Column("reference", "reference", "name", audience="programs"),
        Column("step", "step", "count", audience="programs" if of_differences else "all", priority=7),
        Column("block", "block", "name", audience="all" if many else "programs"),
        *measures,
        Column("mini_batch_size", "mini-batch", "count", audience="programs"),
        Column("edge", "λ_max/limit", "estimate", audience="programs" if of_differences else "all", priority=9),
        Column("paired", "paired", audience="all" if of_differences else "programs", priority=7),
    )


def _share_of_limit(own: JudgedSpectrum, block: str) -> Estimate | None:
    """λ_max over the largest eigenvalue with which steps are stable, where the checkpoint tells that."""
    limit = None if own.spectrum is None else limit_of(own.spectrum)
    return None if limit is None else limit.share(own.blocks[block].measures[_LARGEST])


def _notes_on_limits(comparison: Comparison) -> list[str]:
    """Say what the limits are, once for each optimizer."""
    spectra = [own.spectrum for row in comparison.rows for own in row.checkpoints if own is not None]
    limits = [limit for spectrum in spectra if spectrum is not None and (limit := limit_of(spectrum)) is not None]
    formulas = dict.fromkeys(f"{limit.formula} of {limit.optimizer}" for limit in limits)
    if not formulas or _LARGEST not in comparison.measures:
        return []
    return [
        f"λ_max/limit: the limit of stable steps is {', '.join(formulas)}, at the learning rate η of that step; "
        "above 1, steps on the whole data grow along that direction."
    ]


def _plain(title: str) -> str:
    """The title of a lower bound says so; its difference is none."""
    return title.replace("κ ≥", "κ bound")


def _progress(row: Row) -> Cell:
    return row.progress


def _paired(found: RunDifference, comparison: Comparison) -> str:
    known = [found.measures[name] for name in comparison.measures if found.measures[name].value is not None]
    paired = sum(difference.paired for difference in known)
    if not paired:
        return "none"
    return "all" if paired == len(known) else f"{paired} of {len(known)}"


def _named(block: str) -> str:
    return "the whole matrix" if block == "full" else f"the block {block}, the largest or the one asked for"


def _facts(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    last = comparison.rows[-1]
    facts = []
    for run, own in zip(comparison.runs, last.checkpoints, strict=True):
        spectrum = own or run.checkpoints[-1]
        facts.append((run.name, told(spectrum)))
    return (*facts, *(("warning", text) for text in comparison.warnings))


def _notes(comparison: Comparison) -> list[str]:
    shown = [found.measures[name] for found in comparison.differences for name in comparison.measures]
    known = [difference for difference in shown if difference.value is not None]
    paired = sum(difference.paired for difference in known)
    notes = [
        "± and a–b: the 95 % interval for this data; of a difference, its own. "
        f"{paired:,} of {len(known):,} differences are paired probe by probe."
    ]
    if paired and any(difference.paired and not difference.exact for difference in known):
        notes[0] += " Such a one is estimated itself: it need not be the two rows subtracted."
    reasons = dict.fromkeys(d.reason for d in known if not d.paired and d.reason)
    if reasons:
        notes.append("Not paired: " + "; ".join(reasons) + ".")
    return notes
