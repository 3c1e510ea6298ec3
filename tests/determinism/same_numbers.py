"""Comparing results bit for bit, and a small measurement to compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from cases import Case, cases, seeded

from hessent.curvature.problem import Problem
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.measure import Measurement

CASES = {case.name: case for case in cases()}
ENGINES = ("retained", "lockstep", "batched", "forward", "linearized")


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield every place in which two results differ by as much as a bit."""
    if type(one) is not type(other):
        yield f"{place}: {type(one).__name__} and {type(other).__name__}"
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            yield from differences(getattr(one, field.name), getattr(other, field.name), f"{place}.{field.name}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{place}: {len(one)} and {len(other)} entries"
        for index, (left, right) in enumerate(zip(one, other, strict=False)):
            yield from differences(left, right, f"{place}[{index}]")
    elif isinstance(one, np.ndarray):
        if (one.shape, one.dtype, one.tobytes()) != (other.shape, other.dtype, other.tobytes()):
            yield place
    elif one != other:
        yield f"{place}: {one} and {other}"


def problem(case: Case, *sizes: int, dtype: torch.dtype = torch.float32) -> Problem:
    """The case with its nine samples cut into micro-batches of the given sizes."""
    return Problem(seeded(case.model), case.loss, case.batches(*sizes), dtype=dtype)


def measurement(made: Problem, *, engine: str, graph_memory: int = 2**30, **accuracy: Any) -> Measurement:
    """Every layer and the whole matrix, sampled with few products."""
    return Measurement(
        made,
        specifications=["layer"],
        full=True,
        accuracy=Accuracy(**{"method": "lanczos", "max_matvecs": 24, **accuracy}),
        seed=0,
        vector_memory=2**30,
        graph_memory=graph_memory,
        engine=engine,
    )
