"""Which engine multiplies fastest with this model on this machine: timed, not guessed.

No engine is best everywhere (two CPU cores, torch 2.13): a kept gradient graph costs least memory, a linearized
gradient is up to a tenth faster after tracing that takes 4–6 gradients per micro-batch, batched vectors may win on
GPUs, where small kernels are bound by their launch.  So the candidates are timed on the first micro-batch with the
whole matrix, within 3 % of the time the planned products would take, and what each would cost in all is compared:

    seconds = micro-batches · (set-up · times it is set up + planned vectors · seconds per vector).

A candidate that fails, or that differs from double backward, is excluded and the choice says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.containers import samples
from hessent.curvature.engines.catalogue import EngineKind, engine_kind
from hessent.curvature.out_of_memory import is_out_of_memory
from hessent.curvature.problem import Problem

_SHARE = 0.03  # of the planned work may go into timing
_WORTH = 0.95  # of the time that an engine which keeps more than gradient graphs may take at most to be preferred
_AGREEMENT = 1e-3  # relative to the largest entry; float32 engines differ by about 1e-6
# What is tried, and the seconds of a trial before it is known: of a vector's and of a graph's time, and flat.  On a
# CPU several vectors at once gained nothing with any model and cost many times the memory: not tried there.
_EXPECTED: dict[str, dict[str, tuple[float, float, float]]] = {
    "cpu": {"linearized": (4.0, 8.0, 3.0)},
    "cuda": {
        "batched": (16.0, 0.0, 0.0),
        "forward": (30.0, 0.0, 0.0),
        "linearized": (4.0, 8.0, 3.0),
        "replayed": (6.0, 1.0, 0.0),
    },
}


@dataclass(frozen=True)
class Plan:
    """The work that an engine is chosen for.

    Attributes
    ----------
    vectors : int
        Products planned, in whole-matrix products.
    together : int
        Vectors that share a pass over the data.
    micro_batches : int
        Micro-batches of a pass.
    memory : int
        Bytes for what engines keep.
    """

    vectors: int
    together: int
    micro_batches: int
    memory: int

    def fits(self, kind: EngineKind, graph_bytes: int) -> bool:
        """Whether what an engine keeps of all micro-batches fits, beside gradient graphs of `graph_bytes` each."""
        return kind.kept_over_graph * graph_bytes * self.micro_batches <= self.memory


@dataclass(frozen=True)
class Choice:
    """The engine chosen.

    Attributes
    ----------
    engine : str
        Its name.
    why : str
        What was compared, one line.
    """

    engine: str
    why: str


@dataclass(frozen=True)
class _Trial:
    """One candidate on one micro-batch: seconds to set it up and per vector, and what it would cost in all."""

    kind: EngineKind
    setup: float
    per_vector: float
    graph_bytes: int = 0

    def seconds(self, plan: Plan) -> float:
        """Time of the planned work."""
        kept = self.kind.kept and plan.fits(self.kind, self.graph_bytes)
        times = 1.0 if kept else max(plan.vectors / max(plan.together, 1), 1.0)
        return plan.micro_batches * (self.setup * times + plan.vectors * self.per_vector)


def tune(problem: Problem, batch: tuple[Any, Any], block: Block, plan: Plan, *, graph_bytes: int) -> Choice:
    """Choose the engine for the planned work.

    Parameters
    ----------
    problem : Problem
        Model, loss and data.
    batch : tuple
        First micro-batch, on the device.
    block : Block
        The widest block.
    plan : Plan
        The work ahead.
    graph_bytes : int
        Bytes of the gradient graph of one micro-batch.
    """
    generator = torch.Generator().manual_seed(0)
    V = torch.randn(block.size, 8, generator=generator).to(problem.device, problem.dtype)
    base = engine_kind("retained")
    if not plan.fits(base, graph_bytes):
        base = engine_kind("lockstep")
    reference, expected = _timed(problem, batch, block, V[:, :1], base, graph_bytes=graph_bytes)
    allowance = _SHARE * plan.vectors * plan.micro_batches * reference.per_vector
    trials, notes = [reference], []
    for name, (vectors, graphs, flat) in _EXPECTED[problem.device.type].items():
        kind = engine_kind(name)
        forecast = vectors * reference.per_vector + graphs * reference.setup + flat
        if not plan.fits(kind, graph_bytes):
            kept = kind.kept_over_graph * graph_bytes * plan.micro_batches
            notes.append(f"{kind.name} would keep {kept / 2**20:,.0f} MiB")
            continue
        if forecast > allowance:
            notes.append(f"{kind.name} not tried")
            continue
        began = time.perf_counter()
        outcome = _attempt(problem, batch, block, V, kind, expected, graph_bytes, plan)
        allowance -= time.perf_counter() - began
        if isinstance(outcome, str):
            notes.append(f"{kind.name} excluded: {outcome}")
        else:
            trials.append(outcome)
    best = min(
        trials, key=lambda trial: trial.seconds(plan) / (_WORTH if trial.kind.kept_over_graph > 1.0 else 1.0)
    )
    timed = [f"{trial.kind.name} {trial.per_vector:.3g} s" for trial in trials]
    return Choice(best.kind.name, "; ".join(["per vector and micro-batch: " + ", ".join(timed), *notes]))


def _attempt(
    problem: Problem,
    batch: tuple[Any, Any],
    block: Block,
    V: Tensor,
    kind: EngineKind,
    expected: Tensor,
    graph_bytes: int,
    plan: Plan,
) -> _Trial | str:
    """Time one candidate, or say why it is excluded."""
    try:
        if kind.transforms:  # their first use loads parts of torch for 2–3 s, which is not to be timed
            few = (samples(part, 0, 1) for part in batch)
            kind.build(problem, *few).products(block, V[:, :1])
        trial, found = _timed(problem, batch, block, V[:, : kind.at_once], kind, graph_bytes=graph_bytes)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, MemoryError) as error:
        if is_out_of_memory(error):
            return "out of memory"
        first = str(error).strip().splitlines()
        return first[0][:100] if first else type(error).__name__
    largest = float(expected.abs().max())
    difference = float((found[:, :1] - expected).abs().max())
    if not difference <= _AGREEMENT * largest:
        return f"differs from double backward by {difference / largest if largest else difference:.1g}"
    return trial


def _timed(
    problem: Problem, batch: tuple[Any, Any], block: Block, V: Tensor, kind: EngineKind, *, graph_bytes: int
) -> tuple[_Trial, Tensor]:
    """Set a candidate up and multiply twice: the first product pays for tracing, allocation and the like."""
    built, setup = _clocked(lambda: kind.build(problem, *batch), problem)
    _, first = _clocked(lambda: built.products(block, V), problem)
    found, again = _clocked(lambda: built.products(block, V), problem)
    fastest = min(first, again)
    trial = _Trial(kind, setup + first - fastest, fastest / V.shape[1], graph_bytes)
    return trial, found


def _clocked(work: Callable[[], Any], problem: Problem) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    if problem.device.type == "cuda":
        torch.cuda.synchronize(problem.device)
    return result, time.perf_counter() - start
