"""The schedules a run can follow; the rate is a function of the step, so that a run can be taken up at any step."""

from __future__ import annotations

from hessent.measures.learning_rate import CONSTANT, COSINE

SCHEDULES: tuple[str, ...] = (COSINE, CONSTANT)
