"""The summary of a spectrum: one row per block, the headline measures with their intervals.

Columns of the default table
----------------------------
block
    Name, in the model's order; ``full`` is the whole model.
(marks)
    ``*`` not converged, ``†`` negative eigenvalues matter, ``‡`` further copies of some eigenvalues may be missing.
size
    Number of parameters n.
trace, λ_max, λ_min
    Of the block's curvature matrix, with 95 % half-widths.
λ > τ
    Share of eigenvalues above τ = 0.001·max abs(λ) of the block: a certified bracket.
gap
    Entropy gap log n − H, in nats.
κ ≥
    The least condition number that the gap allows.
how
    ``exact`` (all eigenvalues), or k+q×m: k outliers deflated, q probes of m Lanczos steps; or ``hutch++`` with the
    number of its test vectors, where the trace alone was asked for.  Where all blocks are of that kind, the columns
    that are empty are left out.

Every interval is for the data that was used.  Where the curvature of groups of it was kept, a second table
(`population`) has the values of the population that the data was drawn from; CSV has them in the same rows, as
``trace_population``, ``trace_population_low``, ``trace_population_high``, and so on for every measure.
"""

from __future__ import annotations

from collections.abc import Sequence

from hessent.measures.functionals import scale_of
from hessent.measures.mini_batches import batch_size_of
from hessent.measures.registry import tau
from hessent.measures.stability import limit_of
from hessent.report.gradient_note import notes_on_gradient
from hessent.report.kinds import matrix_in_words
from hessent.report.measure_columns import measure_column
from hessent.report.numbers import at_most, format_estimate, format_number
from hessent.report.population import population_table
from hessent.report.selection import MeasuredBlock, Selection, SpectrumEntry, select_blocks
from hessent.report.settings import shown_settings
from hessent.report.split_table import split_table
from hessent.report.tables import Cell, Column, Flag, Table, without_empty_columns
from hessent.spectra.merging import part_of
from hessent.spectra.model import Spectrum

_FLAGS = (
    Flag("not-converged", "*", "not converged: the interval is wider than was asked for"),
    Flag("negative-mass", "†", "over 1 % of Σ|λ| lies on negative eigenvalues; gap, rank and κ are those of |λ|"),
    Flag("further-copies", "‡", "some eigenvalues may have further copies"),
)


def summary_tables(entry: SpectrumEntry, selection: Selection) -> list[Table]:
    """Build the summary of one spectrum.

    Parameters
    ----------
    entry : SpectrumEntry
        What was measured, and the name of its file.
    selection : Selection
        Which measures and blocks, in which order.

    Returns
    -------
    list of Table
        The summary; where groups of the data were kept, the values of the population; where the Hessian was
        split, its parts. See the module's docstring for the columns.

    Raises
    ------
    UsageError
        If a glob matches no block.
    """
    chosen = select_blocks(entry, selection)
    summary = Table(
        columns=_columns(selection),
        rows=tuple(_row(measured, entry, selection) for measured in chosen),
        facts=_facts(entry.spectrum, entry.file),
        notes=(
            *_notes(chosen, selection),
            *_notes_on_stability(chosen, entry.spectrum),
            *notes_on_gradient(chosen, selection),
        ),
        flags=_FLAGS,
    )
    if all(_has_only_trace(measured) for measured in chosen):
        summary = without_empty_columns(summary)
    population = population_table(chosen, selection, entry.spectrum.data)
    others = population, split_table(entry.spectrum.split, [measured.block.name for measured in chosen])
    return [summary, *(table for table in others if table is not None)]


def _columns(selection: Selection) -> tuple[Column, ...]:
    return (
        Column("file", "file", "name", audience="programs"),
        Column("checkpoint", "checkpoint", "name", audience="programs"),
        Column("step", "step", "count", audience="programs"),
        Column("block", "block", "name"),
        Column("flags", "", "flags"),
        Column("size", "size", "count", priority=7),
        *(measure_column(name, selection.alpha) for name in selection.measures),
        Column("how", "how", "text", priority=5),
        Column("method", "method", audience="programs"),
        Column("matvecs", "products", "count", audience="programs"),
        Column("tau", "τ", "number", audience="programs"),
        Column("noise", "noise", "number", audience="programs"),
        Column("mini_batch_size", "mini-batch", "count", audience="programs"),
        *(Column(f"{name}_population", name, "interval", audience="programs") for name in selection.measures),
    )


def _row(measured: MeasuredBlock, entry: SpectrumEntry, selection: Selection) -> tuple[Cell, ...]:
    block = measured.block
    return (
        entry.file,
        entry.spectrum.checkpoint.path,
        entry.spectrum.checkpoint.step,
        block.name,
        measured.flags,
        block.size,
        *(measured.measures[name] for name in selection.measures),
        measured.how,
        block.method,
        block.num_matvecs,
        None if _has_only_trace(measured) else tau(block),
        block.noise,
        batch_size_of(block),
        *(measured.measures[name].population for name in selection.measures),
    )


def _has_only_trace(measured: MeasuredBlock) -> bool:
    return measured.block.trace_estimates is not None


def _facts(spectrum: Spectrum, file: str) -> tuple[tuple[str, str], ...]:
    checkpoint, data = spectrum.checkpoint, spectrum.data
    model = [checkpoint.arch]
    if checkpoint.step is not None:
        total = "" if checkpoint.total_steps is None else f" of {checkpoint.total_steps:,}"
        model.append(f"step {checkpoint.step:,}{total}")
    if checkpoint.stored_dtype:
        model.append(f"weights {checkpoint.stored_dtype}")
    if checkpoint.arch_options:
        model.append(shown_settings(checkpoint.arch_options))
    samples = f"{data.name} · {data.samples:,} of {data.available:,} samples · seed {spectrum.seed}"
    if data.synthetic:
        samples += " · SYNTHETIC: made-up data, so these numbers say nothing about a real task"
    of_loss = f"of the mean loss · {spectrum.loss.name} = {format_number(spectrum.loss.value)}"
    matrix = f"{matrix_in_words(spectrum)} {of_loss}"
    part = part_of(spectrum)
    if part is not None:
        matrix += f" · INCOMPLETE: part {part} of the blocks; hessent merge joins the parts"
    elif not spectrum.complete:
        matrix += " · INCOMPLETE: the run was stopped; the same command goes on"
    facts: tuple[tuple[str, str], ...] = (
        ("spectrum", file),
        ("checkpoint", checkpoint.path),
        ("model", " · ".join(model)),
        ("data", samples),
        ("curvature", matrix),
    )
    metric = spectrum.settings.get("precondition_definition")
    if metric is not None:
        facts = (*facts, ("", str(metric)))
    definition = spectrum.settings.get("curvature_definition")
    if definition is None:
        return facts
    kind = " · positive semidefinite" if all(block.semidefinite for block in spectrum.blocks) else ""
    return (*facts, ("", f"{definition}{kind}"), *_diagonal(spectrum))


def _diagonal(spectrum: Spectrum) -> list[tuple[str, str]]:
    """How the diagonal was had in which a matrix is 1, and what is dead."""
    found = spectrum.settings.get("unit_diagonal")
    if not isinstance(found, dict):
        return []
    error, dead = found.get("error"), found.get("dead")
    told = "exact"
    if isinstance(error, float) and error > 0.0:
        told = f"estimated, relative standard error {format_number(100 * error, 2)} %"
    counts = [count for count in dead.values() if isinstance(count, int)] if isinstance(dead, dict) else []
    if counts:
        told += f" · {sum(counts):,} dead parameters, whose rows are zero; they count in n"
    return [("diagonal", told)]


def _notes(chosen: Sequence[MeasuredBlock], selection: Selection) -> list[str]:
    """Say how to read the numbers, in at most four lines."""
    if not chosen:
        return ["No block has been measured yet."]
    if all(_has_only_trace(measured) for measured in chosen):
        return [
            "±: the 95 % interval for this data. Only the trace was measured: no eigenvalues, no shares, no gap.",
            f"how: Hutch++ and the number of its random vectors. Noise of a product: ≤ {_noise(chosen)} · max|λ|.",
        ]
    shown = selection.measures
    notes = ["± and a–b: the 95 % interval for this data; a number with neither is exact."]
    if "entropy_gap" in shown:
        notes[0] += " gap: the entropy gap log n − H, in nats."
    known = [measured.block for measured in chosen if not _has_only_trace(measured)]
    relative = [tau(block) / scale_of(block) for block in known]
    least, most = format_number(min(relative), 1), format_number(max(relative), 1)
    share = least if least == most else f"{least}–{most}"
    notes.append(f"τ = {share} · max|λ| of the block: what is nearer to zero counts as zero.")
    if "condition_lower_entropy" in shown:
        notes[-1] += " κ ≥: the least condition number the gap allows."
    if any(block.probes is not None for block in known):
        notes.append(
            "how: exact = all eigenvalues; k+q×m = k outliers, q probes of m steps. "
            f"Noise of a product: ≤ {_noise(chosen)} · max|λ|."
        )
    return notes


def _notes_on_stability(chosen: Sequence[MeasuredBlock], spectrum: Spectrum) -> list[str]:
    """Hold the largest eigenvalue of the whole matrix against the limit of stable steps, where that is known."""
    limit = limit_of(spectrum)
    whole = [measured.measures["lambda_max"] for measured in chosen if measured.block.name == "full"]
    if limit is None or not whole or whole[0].value is None:
        return []
    return [
        f"{limit.optimizer} at learning rate η = {format_number(limit.learning_rate)}: λ_max of full is "
        f"{format_estimate(limit.share(whole[0])).joined()} times the limit of stable steps, "
        f"{limit.formula} = {format_number(limit.value)}."
    ]


def _noise(chosen: Sequence[MeasuredBlock]) -> str:
    return at_most(max(measured.block.noise for measured in chosen))
