"""The tidy table: one row per file, block and measure.

Columns
-------
file, run, checkpoint, checkpoint_sha256
    Where the number comes from; the run is the file's folder.
arch, step, progress
    Of the checkpoint; progress is the share of the training done, 0 to 1.
data, samples, data_sha256, synthetic
    The samples that the loss is the mean of; synthetic where they were made up.
curvature, preconditioner, loss, loss_value, seed
    Which matrix, of which loss, that loss's value at the weights, and the seed of probes and samples.
complete
    Whether the run that measured was finished.
block, size, method, matvecs, converged
    As in ``hessent summary --json``.
measure, alpha
    Name of the measure, and the Rényi order of those that have one.
mini_batch_size
    Samples of each mini-batch, of the measures that depend on it.
value, low, high, exact
    The number and its 95 % interval for the data that was used; what is unknown, or open on a side, is missing.
population_value, population_low, population_high
    The same for the population that the data was drawn from, where groups of the data were kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hessent.estimate import Estimate
from hessent.measures.mini_batches import OF_BATCHES, batch_size_of
from hessent.report.exports.sources import Source
from hessent.report.selection import MeasuredBlock, Selection, select_blocks

ColumnKind = Literal["text", "count", "number", "truth"]
Entry = str | int | float | bool | None

_OF_ORDER_ALPHA = ("entropy", "entropy_gap", "effective_rank")


@dataclass(frozen=True)
class TidyTable:
    """Rows for programs: plain values, None where one is missing.

    Attributes
    ----------
    name : str
        What it is, with the version of its columns.
    columns : tuple of (str, ColumnKind)
        Name and kind of each column.
    rows : tuple of tuple
        One entry per column.
    """

    name: str
    columns: tuple[tuple[str, ColumnKind], ...]
    rows: tuple[tuple[Entry, ...], ...]


_FILE_COLUMNS: tuple[tuple[str, ColumnKind], ...] = (
    ("file", "text"),
    ("run", "text"),
    ("checkpoint", "text"),
    ("checkpoint_sha256", "text"),
    ("arch", "text"),
    ("step", "count"),
    ("progress", "number"),
    ("data", "text"),
    ("samples", "count"),
    ("data_sha256", "text"),
    ("synthetic", "truth"),
    ("curvature", "text"),
    ("preconditioner", "text"),
    ("loss", "text"),
    ("loss_value", "number"),
    ("seed", "count"),
    ("complete", "truth"),
)
_BLOCK_COLUMNS: tuple[tuple[str, ColumnKind], ...] = (
    ("block", "text"),
    ("size", "count"),
    ("method", "text"),
    ("matvecs", "count"),
    ("converged", "truth"),
)
_MEASURE_COLUMNS: tuple[tuple[str, ColumnKind], ...] = (
    ("measure", "text"),
    ("alpha", "number"),
    ("mini_batch_size", "count"),
    ("value", "number"),
    ("low", "number"),
    ("high", "number"),
    ("exact", "truth"),
    ("population_value", "number"),
    ("population_low", "number"),
    ("population_high", "number"),
)


def measure_table(sources: Sequence[Source], selection: Selection) -> TidyTable:
    """Build the table of measures.

    Parameters
    ----------
    sources : sequence of Source
        What was measured.
    selection : Selection
        Which blocks and measures, at which Rényi order.

    Returns
    -------
    TidyTable
        See the module's docstring.

    Raises
    ------
    UsageError
        If a glob matches no block of a file.
    """
    return TidyTable(
        "hessent.measures/1",
        _FILE_COLUMNS + _BLOCK_COLUMNS + _MEASURE_COLUMNS,
        tuple(row for source in sources for row in _rows(source, selection)),
    )


def _file_entries(source: Source) -> tuple[Entry, ...]:
    spectrum = source.entry.spectrum
    checkpoint, data = spectrum.checkpoint, spectrum.data
    return (
        source.entry.file,
        source.run,
        checkpoint.path,
        checkpoint.sha256,
        checkpoint.arch,
        checkpoint.step,
        checkpoint.progress,
        data.name,
        data.samples,
        data.sha256,
        data.synthetic,
        source.kind.curvature,
        source.kind.preconditioner,
        spectrum.loss.name,
        spectrum.loss.value if math.isfinite(spectrum.loss.value) else None,
        spectrum.seed,
        spectrum.complete,
    )


def _rows(source: Source, selection: Selection) -> Iterator[tuple[Entry, ...]]:
    start = _file_entries(source)
    for measured in select_blocks(source.entry, selection):
        block = measured.block
        of_block = (block.name, block.size, block.method, block.num_matvecs, block.converged)
        for name in dict.fromkeys(selection.measures):
            yield (*start, *of_block, name, *_measure_entries(measured, name, selection.alpha))


def _measure_entries(measured: MeasuredBlock, name: str, alpha: float) -> tuple[Entry, ...]:
    own = measured.measures[name]
    population = own.population or Estimate(None, None, None)
    return (
        alpha if name in _OF_ORDER_ALPHA else None,
        batch_size_of(measured.block) if name in OF_BATCHES else None,
        own.value,
        own.low,
        own.high,
        own.exact,
        population.value,
        population.low,
        population.high,
    )
