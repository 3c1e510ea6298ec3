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
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.containers import samples
from hessent.curvature.engines.catalogue import EngineKind, engine_kind
from hessent.curvature.problem import Problem
from hessent.errors import memory_ran_out

_SHARE = 0.03  # of the planned work may go into timing
_WORTH = 0.95  # of the time that an engine which keeps more than gradient graphs may take at most to be preferred
_AGREEMENT = 1e-3  # relative to the largest entry; float32 engines differ by about 1e-6
# Several vectors at once hold as many graphs' worth for a moment.  On a CPU they gain a quarter where nets are so
# small that calling operations costs more than computing (a ResNet18 of 100,000 parameters on 8 × 8 images), else
# nothing.
_LARGEST_AT_ONCE = {"cpu": 2**26}  # bytes
# What is tried, and the seconds of a trial before it is known: of a vector's and of a graph's time, and flat.
_EXPECTED: dict[str, dict[str, tuple[float, float, float]]] = {
    "cpu": {"batched": (16.0, 0.0, 0.0), "linearized": (4.0, 8.0, 3.0)},
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
    work : tuple of (Block, int)
        Blocks that stand for all, with the products planned with their like.
    together : int
        Vectors that share a pass over the data.
    micro_batches : int
        Micro-batches of a pass.
    memory : int
        Bytes for what engines keep.
    graph_bytes : int
        Bytes of the gradient graph of one micro-batch.
    """

    work: tuple[tuple[Block, int], ...]
    together: int
    micro_batches: int
    memory: int
    graph_bytes: int

    @property
    def passes(self) -> float:
        """Passes over the data."""
        return max(sum(vectors for _, vectors in self.work) / max(self.together, 1), 1.0)

    def taken_bytes(self, kind: EngineKind) -> float:
        """Bytes that an engine keeps of all micro-batches, and takes while it is built for one."""
        return self.graph_bytes * (kind.kept_over_graph * self.micro_batches + kind.building_over_graph)

    def fits(self, kind: EngineKind) -> bool:
        """Whether that fits in memory."""
        return self.taken_bytes(kind) <= self.memory


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
class Trial:
    """One candidate on one micro-batch.

    Attributes
    ----------
    kind : EngineKind
    setup : float
        Seconds to set it up.
    per_vector : tuple of float
        Seconds of a product with each of the plan's blocks.
    """

    kind: EngineKind
    setup: float
    per_vector: tuple[float, ...]

    def product_seconds(self, plan: Plan) -> float:
        """Time of the planned products, without any set-up."""
        each = zip(plan.work, self.per_vector, strict=True)
        return plan.micro_batches * sum(vectors * seconds for (_, vectors), seconds in each)

    def seconds(self, plan: Plan) -> float:
        """Time of the planned work."""
        times = 1.0 if self.kind.kept and plan.fits(self.kind) else plan.passes
        return plan.micro_batches * self.setup * times + self.product_seconds(plan)


class Tuner:
    """Times candidates on one micro-batch.

    Parameters
    ----------
    problem : Problem
        Model, loss and data.
    batch : tuple
        First micro-batch, on the device.
    plan : Plan
        The work ahead.
    """

    def __init__(self, problem: Problem, batch: tuple[Any, Any], plan: Plan) -> None:
        self._problem = problem
        self._batch = batch
        self._plan = plan
        self._expected: list[Tensor] = []
        self._largest_at_once = _LARGEST_AT_ONCE.get(problem.device.type, plan.memory)

    def choose(self) -> Choice:
        """Return the engine that does the planned work in the least time."""
        plan = self._plan
        base = engine_kind("retained")
        reference, self._expected = self._timed(base if plan.fits(base) else engine_kind("lockstep"))
        allowance = _SHARE * reference.product_seconds(plan)
        trials, notes = [reference], []
        for name, (vectors, graphs, flat) in _EXPECTED[self._problem.device.type].items():
            kind = engine_kind(name)
            forecast = vectors * sum(reference.per_vector) + graphs * reference.setup + flat
            if not plan.fits(kind):
                notes.append(f"{kind.name} would take {plan.taken_bytes(kind) / 2**20:,.0f} MiB")
            elif kind.at_once > 1 and kind.at_once * plan.graph_bytes > self._largest_at_once:
                notes.append(f"{kind.name} would hold {kind.at_once * plan.graph_bytes / 2**20:,.0f} MiB at once")
            elif forecast > allowance:
                notes.append(f"{kind.name} not tried")
            else:
                began = time.perf_counter()
                outcome = self._attempt(kind)
                allowance -= time.perf_counter() - began
                if isinstance(outcome, Trial):
                    trials.append(outcome)
                else:
                    notes.append(f"{kind.name} excluded: {outcome}")
        best = min(trials, key=self._cost)
        blocks = " and ".join(block.name for block, _ in plan.work)
        timed = [f"{trial.kind.name} {_listed(trial.per_vector)} s" for trial in trials]
        return Choice(best.kind.name, f"a product with {blocks}: {'; '.join([*timed, *notes])}")

    def _cost(self, trial: Trial) -> float:
        """Time of the planned work; an engine that keeps more than graphs must be worth it."""
        return trial.seconds(self._plan) / (_WORTH if trial.kind.kept_over_graph > 1.0 else 1.0)

    def _attempt(self, kind: EngineKind) -> Trial | str:
        """Time one candidate, or say why it is excluded."""
        try:
            if kind.transforms:  # their first use loads parts of torch for 2–3 s, which is not to be timed
                few = (samples(part, 0, 1) for part in self._batch)
                widest = self._plan.work[0][0]
                kind.build(self._problem, *few).products(widest, self._columns(widest, 1))
            trial, found = self._timed(kind)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, MemoryError) as error:
            if memory_ran_out(error):
                return "out of memory"
            first = str(error).strip().splitlines()
            return first[0][:100] if first else type(error).__name__
        for expected, products in zip(self._expected, found, strict=True):
            largest = float(expected.abs().max())
            difference = float((products - expected).abs().max())
            if not difference <= _AGREEMENT * largest:
                return f"differs from double backward by {difference / largest if largest else difference:.1g}"
        return trial

    def _timed(self, kind: EngineKind) -> tuple[Trial, list[Tensor]]:
        """Set a candidate up and multiply twice: the first product pays for tracing, allocation and the like.

        Returned with the trial is the product with the first vector of each block.
        """
        built, setup = self._clocked(lambda: kind.build(self._problem, *self._batch))
        per_vector, found = [], []
        for block, _ in self._plan.work:
            V = self._columns(block, kind.at_once)
            product = partial(built.products, block, V)
            _, first = self._clocked(product)
            products, again = self._clocked(product)
            setup += max(first - again, 0.0)
            per_vector.append(min(first, again) / kind.at_once)
            found.append(products[:, :1].clone())
        return Trial(kind, setup, tuple(per_vector)), found

    def _columns(self, block: Block, count: int) -> Tensor:
        """Random columns (n_b, count); the first is the same however many there are."""
        rows = [
            torch.randn(block.size, generator=torch.Generator().manual_seed(seed), dtype=self._problem.dtype)
            for seed in range(count)
        ]
        return torch.stack(rows).to(self._problem.device).T

    def _clocked(self, work: Callable[[], Any]) -> tuple[Any, float]:
        start = time.perf_counter()
        result = work()
        if self._problem.device.type == "cuda":
            torch.cuda.synchronize(self._problem.device)
        return result, time.perf_counter() - start


def _listed(seconds: tuple[float, ...]) -> str:
    return " and ".join(f"{number:.3g}" for number in seconds)
