"""The summary of a spectrum: one row per block, the headline measures with their intervals.

Columns of the default table
----------------------------
block
    Name, in the model's order; ``full`` is the whole model.
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
    ``exact`` (all eigenvalues), or k+q×m: k outliers deflated, q probes of m Lanczos steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hessent.measures.functionals import scale_of
from hessent.measures.registry import tau
from hessent.report.numbers import at_most, format_number
from hessent.report.selection import MeasuredBlock, Selection, SpectrumEntry, select_blocks
from hessent.report.settings import shown_settings
from hessent.report.tables import Cell, CellKind, Column, Flag, Table
from hessent.spectra.model import Spectrum

# Title, kind, and how soon the column goes on a narrow terminal (a high number goes first).
_COLUMNS: Mapping[str, tuple[str, CellKind, int]] = {
    "trace": ("trace", "estimate", 1),
    "abs_trace": ("abs. trace", "estimate", 5),
    "lambda_max": ("λ_max", "estimate", 3),
    "lambda_min": ("λ_min", "estimate", 8),
    "positive_ratio": ("λ > τ", "bracket", 4),
    "negative_ratio": ("λ < −τ", "bracket", 7),
    "zero_ratio": ("|λ| ≤ τ", "bracket", 7),
    "entropy": ("entropy", "estimate", 6),
    "entropy_gap": ("gap", "estimate", 2),
    "effective_rank": ("eff. rank", "estimate", 6),
    "condition_lower_entropy": ("κ ≥", "lower-bound", 6),
    "condition_lower_ritz": ("κ ≥ (Ritz)", "lower-bound", 7),
    "condition_damped": ("κ damped", "estimate", 7),
}
_OF_ORDER_ALPHA = ("entropy", "entropy_gap", "effective_rank")

_FLAGS = (
    Flag("not-converged", "*", "not converged: the interval is wider than was asked for"),
    Flag("negative-mass", "†", "over 1 % of Σ|λ| lies on negative eigenvalues; gap, rank and κ are those of |λ|"),
)


def summary_table(entry: SpectrumEntry, selection: Selection) -> Table:
    """Build the summary table of one spectrum.

    Parameters
    ----------
    entry : SpectrumEntry
        What was measured, and the name of its file.
    selection : Selection
        Which measures and blocks, in which order.

    Returns
    -------
    Table
        See the module's docstring for its columns.

    Raises
    ------
    UsageError
        If a glob matches no block.
    """
    chosen = select_blocks(entry, selection)
    return Table(
        columns=_columns(selection),
        rows=tuple(_row(measured, entry, selection) for measured in chosen),
        facts=_facts(entry.spectrum, entry.file),
        notes=tuple(_notes(chosen, selection)),
        flags=_FLAGS,
    )


def _columns(selection: Selection) -> tuple[Column, ...]:
    measured = []
    for name in selection.measures:
        title, kind, priority = _COLUMNS[name]
        if name in _OF_ORDER_ALPHA and selection.alpha != 1.0:
            title += f" α={selection.alpha:g}".replace("inf", "∞")
        measured.append(Column(name, title, kind, priority=priority))
    return (
        Column("file", "file", "name", audience="programs"),
        Column("checkpoint", "checkpoint", "name", audience="programs"),
        Column("step", "step", "count", audience="programs"),
        Column("block", "block", "name"),
        Column("flags", "", "flags"),
        Column("size", "size", "count", priority=7),
        *measured,
        Column("how", "how", "text", priority=5),
        Column("method", "method", audience="programs"),
        Column("matvecs", "products", "count", audience="programs"),
        Column("tau", "τ", "number", audience="programs"),
        Column("noise", "noise", "number", audience="programs"),
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
        tau(block),
        block.noise,
    )


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
    matrix = f"{spectrum.curvature} of the mean loss · {spectrum.loss.name} = {format_number(spectrum.loss.value)}"
    if not spectrum.complete:
        matrix += " · INCOMPLETE: the run was stopped; the same command measures anew"
    return (
        ("spectrum", file),
        ("checkpoint", checkpoint.path),
        ("model", " · ".join(model)),
        ("data", samples),
        ("curvature", matrix),
    )


def _notes(chosen: Sequence[MeasuredBlock], selection: Selection) -> list[str]:
    """Say how to read the numbers, in at most four lines."""
    if not chosen:
        return ["No block has been measured yet."]
    shown = selection.measures
    notes = ["± and a–b: the 95 % interval for this data; a number with neither is exact."]
    if "entropy_gap" in shown:
        notes[0] += " gap: the entropy gap log n − H, in nats."
    relative = [tau(measured.block) / scale_of(measured.block) for measured in chosen]
    least, most = format_number(min(relative), 1), format_number(max(relative), 1)
    share = least if least == most else f"{least}–{most}"
    notes.append(f"τ = {share} · max|λ| of the block: what is nearer to zero counts as zero.")
    if "condition_lower_entropy" in shown:
        notes[-1] += " κ ≥: the least condition number the gap allows."
    if any(measured.block.probes is not None for measured in chosen):
        noise = at_most(max(measured.block.noise for measured in chosen))
        notes.append(
            "how: exact = all eigenvalues; k+q×m = k outliers, q probes of m steps. "
            f"Noise of a product: ≤ {noise} · max|λ|."
        )
    return notes
