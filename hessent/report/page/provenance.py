"""Where the numbers of a page come from: a line for each checkpoint, and everything its file says of it, folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.comparison_rows import ComparedRun
from hessent.report.numbers import format_number
from hessent.report.page.html import Markup, element, joined
from hessent.report.page.tables import fact_list, table_box
from hessent.report.settings import shown_value
from hessent.report.tables import Cell, Column, Table

_FINGERPRINT = 12  # letters of a digest in the table; below it stands whole
_COLUMNS = (
    Column("file", "file", "name"),
    Column("run", "run", "name"),
    Column("step", "step", "count"),
    Column("state", "state"),
    Column("weights", "weights, sha256"),
    Column("arch", "arch"),
    Column("data", "data", "name"),
    Column("samples", "samples", "count"),
    Column("digest", "data, sha256"),
    Column("loss", "loss", "number"),
    Column("seed", "seed", "count"),
)


def state_of(spectrum: JudgedSpectrum) -> str:
    """Return what spoils a spectrum, in capitals; "complete" where nothing does."""
    words = []
    if spectrum.synthetic:
        words.append("SYNTHETIC")
    if spectrum.part is not None:
        words.append(f"INCOMPLETE, part {spectrum.part}")
    elif not spectrum.complete:
        words.append("INCOMPLETE")
    return " ".join(words) or "complete"


def provenance(runs: Sequence[ComparedRun]) -> Markup:
    """Return the table of all checkpoints, and below it what each file says.

    Parameters
    ----------
    runs : sequence of ComparedRun
        Of the page.
    """
    rows = tuple(_row(run.name, own) for run in runs for own in run.checkpoints)
    details = [_details(own) for run in runs for own in run.checkpoints]
    return joined(table_box(Table(_COLUMNS, rows), "All spectra of this page"), *details)


def _row(run: str, own: JudgedSpectrum) -> tuple[Cell, ...]:
    return (
        own.file,
        run,
        own.step,
        state_of(own),
        own.checkpoint_sha256[:_FINGERPRINT],
        own.arch,
        own.data,
        own.samples,
        own.data_sha256[:_FINGERPRINT],
        None if own.spectrum is None else own.spectrum.loss.value,
        own.seed,
    )


def _details(own: JudgedSpectrum) -> Markup:
    facts = [("file", own.file), ("state", state_of(own)), ("weights, sha256", own.checkpoint_sha256)]
    facts += [
        ("data, sha256", own.data_sha256),
        ("samples", f"{own.samples:,} of {own.data}"),
        ("seed", str(own.seed)),
    ]
    spectrum = own.spectrum
    if spectrum is None:
        facts += [
            ("curvature", f"{own.curvature} of {own.loss}"),
            ("from", "a summary in JSON, which says no more"),
        ]
    else:
        checkpoint, loss = spectrum.checkpoint, spectrum.loss
        facts += [
            ("checkpoint", checkpoint.path),
            ("weights stored as", checkpoint.stored_dtype),
            ("curvature", f"{spectrum.curvature} of {loss.name} = {format_number(loss.value)}"),
            ("arch", " ".join([checkpoint.arch, _listed(checkpoint.arch_options)])),
            ("optimizer", _listed(checkpoint.optimizer)),
            ("metrics", _listed(checkpoint.metrics)),
            ("settings", _listed(spectrum.settings)),
            ("checks", _listed(spectrum.checks)),
            ("versions", _listed(spectrum.versions)),
        ]
    known = tuple((label, text) for label, text in facts if text.strip())
    return element("details", element("summary", own.file), fact_list(known))


def _listed(entries: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown_value(value)}" for name, value in entries.items())
