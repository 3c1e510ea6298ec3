"""Of which mini-batches the measures of compared runs are, where these depend on their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hessent.measures.mini_batches import OF_BATCHES, other_size
from hessent.report.checks.table import samples_of_batches
from hessent.report.comparison_cautions import Caution
from hessent.report.comparison_rows import ComparedRun, Row

if TYPE_CHECKING:
    from hessent.report.comparison import Comparison


def cautions_on_batches(runs: Sequence[ComparedRun], rows: Sequence[Row]) -> list[Caution]:
    """Return what a reader of measures of mini-batches' gradients must know: that their sizes differ.

    Parameters
    ----------
    runs, rows
        What is compared.
    """
    found: dict[Caution, None] = {}
    for row in rows:
        reference = row.checkpoints[0]
        for run, own in zip(runs[1:], row.checkpoints[1:], strict=True):
            if own is None or reference is None:
                continue
            for name in own.blocks.keys() & reference.blocks.keys():
                if differ := other_size(own.blocks[name].batch_size, reference.blocks[name].batch_size):
                    text = f"{run.name} and {runs[0].name} have {differ}: their measures batch_… are not compared"
                    found[Caution(text, True)] = None
    return list(found)


def notes_on_batches(comparison: Comparison) -> list[str]:
    """Say of which mini-batches the measures are that depend on their size, run by run.

    Parameters
    ----------
    comparison : Comparison
        Runs side by side.
    """
    if not set(comparison.measures) & set(OF_BATCHES):
        return []
    sizes: dict[str, dict[str, None]] = {run.name: {} for run in comparison.runs}
    for row in comparison.rows:
        for run, own in zip(comparison.runs, row.checkpoints, strict=True):
            known = () if own is None else (own.blocks[name] for name in comparison.blocks if name in own.blocks)
            sizes[run.name] |= dict.fromkeys(samples_of_batches(block) for block in known)
    told = "; ".join(f"{name}: {' and '.join(found)}" for name, found in sizes.items() if found)
    return [f"of batches: means over mini-batches; {told}."]
