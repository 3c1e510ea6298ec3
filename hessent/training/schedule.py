"""The learning rate as a function of the step, so that a run can be taken up at any step."""

from __future__ import annotations

import math
from typing import Literal, get_args

Schedule = Literal["cosine", "constant"]

SCHEDULES: tuple[str, ...] = get_args(Schedule)


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
    if schedule == "constant":
        return peak
    share = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))
