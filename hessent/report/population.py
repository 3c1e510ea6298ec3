"""The second table of a summary: the measures of the population that the data was drawn from.

The first table is about the samples that were used.  The choice of the samples has an error too, and usually the
largest one.  Where the curvature of groups of them was kept, deleting each group in turn (the jackknife) tells it.

Columns of the default table
----------------------------
block
    Name, in the order of the first table; blocks without groups are left out.
trace, abs. trace, gap
    As in the first table, with the half-width of probes, steps and choice of samples together.
λ_max corrected
    The largest eigenvalue, less the jackknife's estimate of its bias: on few samples it comes out too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hessent.report.measure_columns import measure_column
from hessent.report.selection import HEADLINE, MeasuredBlock, Selection
from hessent.report.tables import Column, Table, is_unknown, without_empty_columns
from hessent.spectra.provenance import DataInfo

POPULATION_HEADLINE = ("trace", "abs_trace", "lambda_max", "entropy_gap")


def population_table(chosen: Sequence[MeasuredBlock], selection: Selection, data: DataInfo) -> Table | None:
    """Build the table of population values, for people.

    Parameters
    ----------
    chosen : sequence of MeasuredBlock
        The blocks of the first table.
    selection : Selection
        Its measures are shown; four of its own where nothing was chosen by name.
    data : DataInfo
        What the blocks were measured on.

    Returns
    -------
    Table or None
        See the module's docstring; None where no block has a value of a population.
    """
    names = POPULATION_HEADLINE if selection.measures == HEADLINE else selection.measures
    rows = []
    for measured in chosen:
        cells = [measured.measures[name].population for name in names]
        if not all(is_unknown(cell) for cell in cells):
            rows.append((measured, cells))
    if not rows:
        return None
    corrected = any(measured.measures["lambda_max"].population is not None for measured, _ in rows)
    return without_empty_columns(
        Table(
            columns=(Column("block", "block", "name"), *(_column(name, selection.alpha) for name in names)),
            rows=tuple((measured.block.name, *cells) for measured, cells in rows),
            notes=tuple(_notes(corrected and "lambda_max" in names, len(chosen) - len(rows))),
            title=_title(rows[0][0], data),
            audience="people",
        )
    )


def _column(name: str, alpha: float) -> Column:
    column = measure_column(name, alpha)
    return replace(column, title=column.title + " corrected") if name == "lambda_max" else column


def _title(measured: MeasuredBlock, data: DataInfo) -> str:
    """Say which population, and how the groups were cut: once, for all blocks."""
    groups = measured.block.groups
    if groups is None:
        return f"For the population that the {data.samples:,} samples were drawn from"
    population = "the population"
    if groups.sampled_fraction:
        population += f" of {data.samples / groups.sampled_fraction:,.0f}"
    least, most, total = int(groups.items.min()), int(groups.items.max()), int(groups.items.sum())
    size = f"{least:,}" if least == most else f"{least:,}–{most:,}"
    freedom = groups.num_groups - 1
    unit = "" if total == data.samples else " tokens"
    return (
        f"For {population} that the {data.samples:,} samples were drawn from ({groups.num_groups} groups of "
        f"{size}{unit}; 95 % t-intervals, {freedom} {'degree' if freedom == 1 else 'degrees'} of freedom)"
    )


def _notes(corrected: bool, without: int) -> list[str]:
    notes = ["± and a–b: error of the choice of samples and of the estimate together, from leaving each group out."]
    if corrected:
        notes.append("λ_max corrected: less its bias, because on few samples the largest one is too large.")
    if without:
        notes.append(f"No groups were kept of {without} more {'block' if without == 1 else 'blocks'}.")
    return notes
