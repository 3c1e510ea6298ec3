"""The Lion analysis as a table, as a document, and as the file of scales.

Columns
-------
tensor, size
    Name and coordinates; first all tensors as one.
μ, s, μ/s
    Signal and noise of the update; `hessent.measures.update_signal`.
sign wrong
    Φ(−μ/s).
bits: sign, bits: U
    Mutual information of the direction with the sign, and with the update.
tanh scale
    μ/s².
differs
    Share of updates where sign and tanh differ by more than 0.1.
skew, kurtosis, distance
    Of the noise: 0 for two Gaussians; the distance of the distribution of |U| from theirs.
2 Gaussians
    Whether the model holds; — where that cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from hessent.errors import UsageError, suggest
from hessent.estimate import Estimate
from hessent.measures.lion_analysis import LionAnalysis
from hessent.measures.update_signal import (
    DISTANCE_LIMIT,
    KURTOSIS_LIMIT,
    MEASURES,
    SKEWNESS_LIMIT,
    UpdateSignal,
)
from hessent.report.checkpoint_document import checkpoint_document
from hessent.report.names import printable
from hessent.report.numbers import format_number
from hessent.report.settings import shown_settings
from hessent.report.tables import Cell, Column, Table

SCHEMA = "hessent.lion/1"
SORTS = ("model", "size", *MEASURES)

# Title, and how soon the column goes on a narrow terminal (a high number goes first).
_COLUMNS = {
    "mu": ("μ", 6),
    "sigma": ("s", 7),
    "snr": ("μ/s", 1),
    "sign_error": ("sign wrong", 3),
    "mi_sign_bits": ("bits: sign", 5),
    "mi_full_bits": ("bits: U", 5),
    "tanh_scale": ("tanh scale", 2),
    "differs": ("differs", 0),
    "skewness": ("skew", 9),
    "excess_kurtosis": ("kurtosis", 8),
    "distance": ("distance", 8),
}


def check_sort(sort: str) -> None:
    """Refuse an order that does not exist.

    Raises
    ------
    UsageError
        Naming those that do.
    """
    if sort not in SORTS:
        raise UsageError(f"no order '{sort}'", where="--sort", expected=", ".join(SORTS), fix=suggest(sort, SORTS))


def sorted_tensors(tensors: Sequence[UpdateSignal], sort: str) -> list[UpdateSignal]:
    """Return the tensors, largest first by a number, unknown ones last; `model` keeps the model's order."""
    if sort == "model":
        return list(tensors)
    if sort == "size":
        return sorted(tensors, key=lambda one: -one.size)
    return sorted(tensors, key=_falling(sort))


def _falling(name: str) -> Callable[[UpdateSignal], tuple[bool, float]]:
    def key(one: UpdateSignal) -> tuple[bool, float]:
        estimate: Estimate = getattr(one, name)
        return estimate.value is None, -(estimate.value or 0.0)

    return key


def lion_table(found: LionAnalysis, sort: str) -> Table:
    """Build the table; see the module's docstring for its columns."""
    return Table(
        columns=(
            Column("tensor", "tensor", "name"),
            Column("size", "size", "count", priority=4),
            *(Column(name, title, "estimate", priority=first) for name, (title, first) in _COLUMNS.items()),
            Column("gaussian", "2 Gaussians", "text", priority=1),
        ),
        rows=tuple(_row(one) for one in (found.whole, *sorted_tensors(found.tensors, sort))),
        facts=_facts(found),
        notes=(
            "± and a–b: the 95 % interval, from the choice of mini-batches; μ is corrected for their number. "
            "differs: share of updates where sign and tanh differ by more than 0.1.",
            f"2 Gaussians: yes where |skew| ≤ {SKEWNESS_LIMIT:g}, |kurtosis| ≤ {KURTOSIS_LIMIT:g} and distance ≤ "
            f"{DISTANCE_LIMIT:g} for sure; no where one is beyond for sure: sign wrong, bits and tanh scale are "
            "then those of the model, not of the tensor; differs is counted in any case.",
        ),
    )


def lion_document(found: LionAnalysis, sort: str) -> dict[str, Any]:
    """Return the JSON document `hessent.lion/1`."""
    checkpoint, data = found.checkpoint, found.data
    return {
        "schema": SCHEMA,
        "checkpoint": checkpoint_document(checkpoint),
        "data": {"name": data.name, "samples": data.samples, "sha256": data.sha256, "synthetic": data.synthetic},
        "loss": found.loss,
        "seed": found.seed,
        "beta1": found.beta1,
        "momentum": {"source": found.momentum, "description": found.momentum_told},
        "batches": found.batches,
        "batch_size": found.batch_size,
        "whole": _object(found.whole),
        "tensors": [_object(one) for one in sorted_tensors(found.tensors, sort)],
    }


def scales_told(found: LionAnalysis) -> list[str]:
    """Return the comment lines of the file of scales."""
    step = "" if found.checkpoint.step is None else f", step {found.checkpoint.step}"
    return [
        "scales mu/s^2 of tanh, by hessent lion",
        f"{printable(found.checkpoint.arch)}{step}, weights {found.checkpoint.sha256}",
        f"{found.batches} mini-batches of {found.batch_size}, beta1 {found.beta1:g}, m from {found.momentum}; "
        "where no signal is seen the scale of all is used",
    ]


def _row(one: UpdateSignal) -> tuple[Cell, ...]:
    model = {True: "yes", False: "no", None: "—"}[one.gaussian]
    return (one.name, one.size, *(getattr(one, name) for name in _COLUMNS), model)


def _object(one: UpdateSignal) -> dict[str, Any]:
    numbers = {name: getattr(one, name).to_json() for name in MEASURES}
    return {"name": one.name, "size": one.size, **numbers, "gaussian": one.gaussian}


def _facts(found: LionAnalysis) -> tuple[tuple[str, str], ...]:
    checkpoint, data = found.checkpoint, found.data
    model = [checkpoint.arch]
    if checkpoint.step is not None:
        total = "" if checkpoint.total_steps is None else f" of {checkpoint.total_steps:,}"
        model.append(f"step {checkpoint.step:,}{total}")
    if checkpoint.arch_options:
        model.append(shown_settings(checkpoint.arch_options))
    samples = f"{data.name} · {data.samples:,} of {data.available:,} samples · seed {found.seed} · {found.loss}"
    if data.synthetic:
        samples += " · SYNTHETIC: made-up data, so these numbers say nothing about a real task"
    return (
        ("checkpoint", checkpoint.path),
        ("model", " · ".join(model)),
        ("data", samples),
        (
            "update",
            f"U = {found.beta1:g}·m + {1 - found.beta1:g}·g · {found.batches} mini-batches of {found.batch_size}",
        ),
        ("momentum", found.momentum_told),
        *_drawn(found),
    )


def _drawn(found: LionAnalysis) -> list[tuple[str, str]]:
    """What was made of fewer samples than the data has, which is where mini-batches of the training come from."""
    chosen, available = found.data.samples, found.data.available
    if chosen >= available:
        return []
    factor = format_number(math.sqrt(found.draw.noise), 3)
    told = (
        f"from {chosen:,} samples; s (× {factor}) and μ are corrected to those of mini-batches of all {available:,}"
    )
    return [("drawn", f"{told}, intervals do not hold the choice of these {chosen:,}")]
