"""The spectrum itself as a table, for densities of one's own: eigenvalues, and nodes with weights.

Columns
-------
file, run, step, synthetic, complete, block, size
    As in the table of measures; file and block tell which of its rows belong to a row here.
kind
    ``eigenvalue``: every eigenvalue of an exact block, or of one of K-FAC; ``outlier``: found one by one in a
    sampled block; ``node``: of the Gauss rule of a random probe, which stands for all other eigenvalues.
probe
    Number of the probe of a node, from 0; missing otherwise.
eigenvalue
    Where it lies.
weight
    Share of the block's n eigenvalues that lies there.  The weights of a block sum to one: 1/n for each eigenvalue
    and outlier; the nodes of p probes share the rest, each probe a p-th of it.  Σ weight·f(eigenvalue) estimates
    the mean of f over the eigenvalues.
residual
    Norm of the residual, in the unit of the eigenvalues: some true eigenvalue is as near as that.  Missing where
    the eigenvalue itself is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hessent.errors import UsageError
from hessent.measures.quadrature import exact_rules
from hessent.report.exports.sources import Source
from hessent.report.exports.tidy_rows import ColumnKind, Entry, TidyTable
from hessent.report.selection import blocks_named
from hessent.spectra.kronecker import METHOD
from hessent.spectra.model import BlockSpectrum

MOST_ROWS = 2_000_000  # some 200 MB of CSV
_COLUMNS: tuple[tuple[str, ColumnKind], ...] = (
    ("file", "text"),
    ("run", "text"),
    ("step", "count"),
    ("synthetic", "truth"),
    ("complete", "truth"),
    ("block", "text"),
    ("size", "count"),
    ("kind", "text"),
    ("probe", "count"),
    ("eigenvalue", "number"),
    ("weight", "number"),
    ("residual", "number"),
)


def eigenvalue_table(sources: Sequence[Source], patterns: Sequence[str]) -> TidyTable:
    """Build the table of eigenvalues and nodes.

    Parameters
    ----------
    sources : sequence of Source
        What was measured; blocks of which only the trace was asked for have no rows.
    patterns : sequence of str
        Globs for names of blocks; none for all.

    Returns
    -------
    TidyTable
        See the module's docstring.

    Raises
    ------
    UsageError
        If a glob matches no block of a file, there is no eigenvalue at all, or there are millions.
    """
    _refuse_many(sources, patterns)
    rows = tuple(row for source in sources for row in _rows(source, patterns))
    if not rows:
        raise UsageError(
            "there are no eigenvalues to export: of these blocks the trace alone was measured",
            where=sources[0].entry.file if sources else None,
            fix="hessent spectrum without --only trace",
        )
    return TidyTable("hessent.eigenvalues/1", _COLUMNS, rows)


def _refuse_many(sources: Sequence[Source], patterns: Sequence[str]) -> None:
    """A block of K-FAC has as many eigenvalues as parameters; other exact blocks are small."""
    blocks = [block for source in sources for block in blocks_named(source.entry, patterns)]
    whole = [block for block in blocks if block.method in ("exact", METHOD)]
    count = sum(block.size for block in whole)
    if count > MOST_ROWS:
        largest = max(whole, key=lambda block: block.size)
        raise UsageError(
            f"the table would have {count:,} eigenvalues, {largest.size:,} of them of block '{largest.name}'",
            where="--what eigenvalues",
            expected=f"at most {MOST_ROWS:,}",
            fix="--block GLOB, which names smaller ones",
        )


def _rows(source: Source, patterns: Sequence[str]) -> Iterator[tuple[Entry, ...]]:
    spectrum = source.entry.spectrum
    start = (source.entry.file, source.run, source.step, spectrum.data.synthetic, spectrum.complete)
    for block in blocks_named(source.entry, patterns):
        for found in _found(block):
            yield (*start, block.name, block.size, *found)


def _found(block: BlockSpectrum) -> Iterator[tuple[Entry, ...]]:
    share = 1.0 / block.size
    if block.eigenvalues is not None:
        yield from (("eigenvalue", None, float(value), share, None) for value in block.eigenvalues)
    outliers = 0
    if block.outliers is not None:
        outliers = len(block.outliers.values)
        for value, residual in zip(block.outliers.values, block.outliers.residuals, strict=True):
            yield "outlier", None, float(value), share, float(residual)
    dimension = block.size - outliers
    if block.probes is None or dimension <= 0:
        return
    rules = exact_rules(block.probes, block.probes.num_steps, dimension)
    for probe, rule in enumerate(rules):
        weights = rule.weights * (dimension * share / len(rules))
        for node, weight, residual in np.column_stack([rule.nodes, weights, rule.residuals]).tolist():
            yield "node", probe, node, weight, residual
