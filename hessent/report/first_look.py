"""The table that is shown while a measurement is still being refined."""

from __future__ import annotations

from collections.abc import Sequence

from hessent.measures.registry import compute_measures
from hessent.report.tables import Column, Table, without_empty_columns
from hessent.spectra.model import BlockSpectrum


def first_look_table(blocks: Sequence[BlockSpectrum]) -> Table:
    """Return the headline measures of blocks that have only been looked at; what no block has yet is left out.

    Parameters
    ----------
    blocks : sequence of BlockSpectrum
        In the model's order.
    """
    rows = []
    for block in blocks:
        measures = compute_measures(block)
        rows.append(
            (
                block.name,
                block.size,
                block.method,
                measures["trace"],
                measures["lambda_max"],
                measures["positive_ratio"],
                measures["entropy_gap"],
            )
        )
    columns = (
        Column("block", "block", "name"),
        Column("size", "size", "count"),
        Column("method", "how", "text"),
        Column("trace", "trace", "estimate"),
        Column("lambda_max", "λ_max", "estimate"),
        Column("positive_ratio", "positive", "bracket"),
        Column("entropy_gap", "entropy gap", "estimate"),
    )
    return without_empty_columns(Table(columns=columns, rows=tuple(rows)))
