"""The learning rate by step: of a run under way, and of a checkpoint that says how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

COSINE, CONSTANT = "cosine", "constant"


def learning_rate(step: int, *, peak: float, schedule: str, warmup_steps: int, total_steps: int) -> float:
    """Return the learning rate of one update.

    Parameters
    ----------
    step : int
        Updates done before this one, 0 … total_steps − 1.
    peak : float
        The rate that is reached at the end of the warm-up.
    schedule : {"cosine", "constant"}
        After the warm-up: peak · (1 + cos(π·t)) / 2 with t from 0 towards 1 at the end of the run, or peak.
    warmup_steps : int
        The first updates rise linearly: peak · (step + 1) / warmup_steps.
    total_steps : int
        Updates of the whole run.

    Returns
    -------
    float
        Above zero for every update of the run.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == CONSTANT:
        return peak
    share = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))


def stated_rate(optimizer: Mapping[str, Any], step: int | None, total_steps: int | None) -> float | None:
    """Return the rate of the update that follows a checkpoint, as its metadata tell; nothing in them is trusted.

    Parameters
    ----------
    optimizer : mapping
        `lr`, the peak of the schedule; `schedule` and `warmup_steps`, absent for a constant rate.
    step, total_steps : int or None
        Updates done, and of the whole run.

    Returns
    -------
    float or None
        Above zero; None where it is not stated, the schedule is not known, or the run is over.
    """
    peak = number(optimizer.get("lr"))
    if peak is None or peak <= 0.0:
        return None
    schedule, warmup = optimizer.get("schedule", CONSTANT), number(optimizer.get("warmup_steps", 0))
    if schedule not in (COSINE, CONSTANT) or warmup is None or warmup < 0:
        return None
    if schedule == CONSTANT and warmup == 0:
        return peak
    if step is None or total_steps is None or step >= total_steps or warmup >= total_steps:
        return None
    rate = learning_rate(step, peak=peak, schedule=schedule, warmup_steps=int(warmup), total_steps=total_steps)
    return rate if rate > 0.0 else None


def number(stated: Any) -> float | None:
    """Return what metadata state as a finite number, None where it is none."""
    if isinstance(stated, bool) or not isinstance(stated, int | float):
        return None
    try:
        return float(stated) if math.isfinite(stated) else None
    except OverflowError:  # a whole number beyond the largest float
        return None
