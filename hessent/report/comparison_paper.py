"""The quantities of the source paper's Tables 2 to 5, run by run over the training.

They come from one sign vector v and one product Hv, per parameter tensor, and are no eigenvalue statistics: see
`hessent.measures.tensors`.  Each is a single random draw without an interval, so no difference is told.
"""

from __future__ import annotations

from hessent.errors import UsageError
from hessent.measures.tensors import NOISE_FLOOR, tensor_measures
from hessent.report.comparison import Comparison
from hessent.report.tables import Cell, Column, Table

_TITLES = {
    "tensor_positive_ratio": "Table 2 of the paper: share of parameter tensors with Σ v∘Hv > 0",
    "tensor_abs_trace": "Table 3 of the paper: Σ over tensors of |Σ v∘Hv| (the paper's scale is not known)",
    "tensor_gap_mean": "Table 4 of the paper: mean over tensors of the gap log n − H(q), in nats",
    "tensor_gap_std": "Table 5 of the paper: standard deviation over tensors of that gap, in nats",
}


def paper_tables(comparison: Comparison) -> list[Table]:
    """Build the four tables: a row for each run, a column for each share of the training.

    Raises
    ------
    UsageError
        If a run has none of these quantities: only spectra files keep them.
    """
    found = [
        [
            None
            if own is None or own.spectrum is None or own.spectrum.tensor_probe is None
            else tensor_measures(own.spectrum.tensor_probe)
            for own in (row.checkpoints[index] for row in comparison.rows)
        ]
        for index in range(len(comparison.runs))
    ]
    missing = [run.name for run, own in zip(comparison.runs, found, strict=True) if all(one is None for one in own)]
    if missing:
        raise UsageError(
            f"--paper: the quantities of the paper's tables are not kept of {', '.join(missing)}",
            expected="spectra files (*.spectrum.h5); their JSON does not hold them",
        )
    columns = (
        Column("quantity", "quantity", audience="programs"),
        Column("run", "run", "name"),
        *(
            Column(f"at_{row.label.removesuffix(' %').replace(' ', '_')}", row.label, "number")
            for row in comparison.rows
        ),
    )
    tables = []
    for key, title in _TITLES.items():
        rows: list[tuple[Cell, ...]] = [
            (key, run.name, *(None if one is None else one[key] for one in own))
            for run, own in zip(comparison.runs, found, strict=True)
        ]
        tables.append(Table(columns, tuple(rows), notes=_notes(key), title=f"{title} ({key})"))
    return tables


def _notes(key: str) -> tuple[str, ...]:
    if key == "tensor_gap_mean":
        return (f"Noise floor: {NOISE_FLOOR} nats, the gap of independent Gaussian entries.",)
    if key == "tensor_gap_std":
        return (
            "One random sign vector, reduced per parameter tensor: not the spectral measures, with which these may "
            "disagree even in order. Single draws without an interval.",
        )
    return ()
