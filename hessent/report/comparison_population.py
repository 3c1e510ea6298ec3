"""The third table of a comparison: differences for the population that the samples were drawn from.

The differences above are about the samples that were used.  Where the curvature of groups of them was kept,
leaving each group out tells what the choice of samples makes of a difference; with the same samples in both runs
most of that cancels.

Columns
-------
at, difference, block
    As in the table of differences.
measures
    Differences with 95 % intervals of probes, steps and choice of samples together; λ_max less the estimate of its
    bias, because on few samples it comes out too large.
"""

from __future__ import annotations

from dataclasses import replace

from hessent.report.comparison import Comparison
from hessent.report.measure_columns import measure_column
from hessent.report.population import POPULATION_HEADLINE
from hessent.report.selection import HEADLINE
from hessent.report.tables import Column, Table, is_unknown, without_empty_columns

_LARGEST = "lambda_max"


def population_differences(comparison: Comparison) -> Table | None:
    """Build the table, for people; see the module's docstring.

    Parameters
    ----------
    comparison : Comparison
        Its measures are shown; four of its own where nothing was chosen by name.

    Returns
    -------
    Table or None
        None where no difference is known for a population.
    """
    names = POPULATION_HEADLINE if comparison.measures == HEADLINE else comparison.measures
    rows = []
    for found in comparison.differences:
        cells = [found.measures[name].population for name in names]
        if not all(is_unknown(cell) for cell in cells):
            rows.append((found.row.label, f"{found.run} − {found.reference}", found.block, *cells))
    if not rows:
        return None
    return without_empty_columns(
        Table(
            columns=(
                Column("at", "at"),
                Column("shown", "difference", "name"),
                Column("block", "block", "name", audience="all" if len(comparison.blocks) > 1 else "programs"),
                *(_column(name) for name in names),
            ),
            rows=tuple(rows),
            notes=("± and a–b: error of the choice of samples and of the estimate together.",),
            title=f"Differences to {comparison.runs[0].name} for the population that the samples were drawn from",
            audience="people",
        )
    )


def _column(name: str) -> Column:
    column = replace(measure_column(name, 1.0), kind="estimate")
    if name == _LARGEST:
        return replace(column, title=f"{column.title} corrected")
    return replace(column, title=column.title.replace("κ ≥", "κ bound"))
