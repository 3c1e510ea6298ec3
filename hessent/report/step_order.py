"""The order in which optimizers are shown."""

from __future__ import annotations

from collections.abc import Sequence

from hessent.errors import UsageError, suggest
from hessent.measures.step_analysis import OPTIMIZERS, StepRow

TABLE = "table"
SORTS = ("measured_decrease", "decrease", "best_decrease", "noise", TABLE)


def check_sort(sort: str) -> None:
    """Refuse an order that does not exist.

    Raises
    ------
    UsageError
        Naming those that do.
    """
    if sort not in SORTS:
        raise UsageError(f"no order '{sort}'", where="--sort", expected=", ".join(SORTS), fix=suggest(sort, SORTS))


def sorted_rows(rows: Sequence[StepRow], sort: str) -> list[StepRow]:
    """Return the rows, largest first by a number, unknown ones last; `table` keeps the unified view's order."""
    in_order = sorted(rows, key=lambda row: OPTIMIZERS.index(row.optimizer))
    if sort == TABLE:
        return in_order
    return sorted(in_order, key=lambda row: _falling(row, sort))


def _falling(row: StepRow, sort: str) -> tuple[bool, float]:
    held = getattr(row, sort)
    value = held if held is None or isinstance(held, float) else held.value
    return value is None, -(value or 0.0)
