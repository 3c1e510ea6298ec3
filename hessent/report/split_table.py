"""The Hessian H beside its Gauss-Newton part G and the rest R = H − G: a table below the summary, and its JSON.

Columns of the default table
----------------------------
block, size
    As in the first table.
tr H, tr G, tr R; ‖H‖, ‖G‖, ‖R‖
    Traces and Frobenius norms, with 95 % half-widths.  R has an interval of its own, that of the differences of
    single products.
cos(G, R)
    ⟨G, R⟩ / (‖G‖ ‖R‖).
how
    ``exact`` where both matrices were formed, or the number of random vectors.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from hessent.measures.split import MATRICES, split_measures
from hessent.report.tables import Cell, Column, Table
from hessent.spectra.split import BlockSplit

_LETTERS = dict(zip(MATRICES, "HGR", strict=True))


def split_table(split: Sequence[BlockSplit], blocks: Collection[str]) -> Table | None:
    """Build the table, for people.

    Parameters
    ----------
    split : sequence of BlockSplit
        Of all blocks.
    blocks : collection of str
        Names of those that are shown, in that order.

    Returns
    -------
    Table or None
        See the module's docstring; None where none of the blocks was split.
    """
    known = {block.name: block for block in split}
    shown = [known[name] for name in blocks if name in known]
    if not shown:
        return None
    keys = [*(f"{kind}_{matrix}" for kind in ("trace", "norm") for matrix in MATRICES), "cosine"]
    rows: list[tuple[Cell, ...]] = []
    for block in shown:
        measures = split_measures(block)
        rows.append((block.name, block.size, *(measures[key] for key in keys), _how(block)))
    return Table(
        columns=(
            Column("block", "block", "name"),
            Column("size", "size", "count", priority=8),
            *(Column(f"trace_{matrix}", f"tr {_LETTERS[matrix]}", "estimate") for matrix in MATRICES),
            *(Column(f"norm_{matrix}", f"‖{_LETTERS[matrix]}‖", "estimate", priority=2) for matrix in MATRICES),
            Column("cosine", "cos(G, R)", "estimate", priority=5),
            Column("how", "how", "text", priority=6),
        ),
        rows=tuple(rows),
        notes=("‖·‖: Frobenius norm. ± and a–b: the 95 % interval for this data; a number without one is exact.",),
        title="Hessian H = G + R: the generalised Gauss-Newton matrix G, and the model's own second derivatives R",
        audience="people",
    )


def split_object(block: BlockSplit) -> dict[str, Any]:
    """Return the JSON object of one block."""
    measures = split_measures(block)
    kinds = ("trace", "norm")
    return {
        "name": block.name,
        "size": block.size,
        "vectors": None if block.exact else block.num_probes,
        **{matrix: {kind: measures[f"{kind}_{matrix}"].to_json() for kind in kinds} for matrix in MATRICES},
        "cosine": measures["cosine"].to_json(),
    }


def _how(block: BlockSplit) -> str:
    return "exact" if block.exact else f"{block.num_probes} vectors"
