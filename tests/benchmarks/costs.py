"""Costs in gradients of everything that can multiply, on the same batch and in turns.

A candidate whose products are wrong is shown so, timed in a few rounds and never counted as the best.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from benchmarks.candidates import Candidate, Engine, Multiply, taking_part
from benchmarks.clocks import clock_for
from benchmarks.figures import Bar, Spread, Task, interleave, ratios
from benchmarks.models import Workload, deviation, gradient, reference_products
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hessent.curvature.blocks import Block
from hessent.errors import HessentError

_ROUNDING = 1e-4  # relative; where no kink is near, float32 products are within it
_KINKS = 3.0  # times what plain double backward in float32 is off: a few rectifiers fall on the other side of zero
DEVIATION = (
    f"Deviation: of the products from plain double backward in float64, relative. Above {_ROUNDING:g}, and above "
    f"{_KINKS:g} times what plain double backward in float32 deviates, a tool is wrong and not counted."
)
UNIT, UNIT_MATH = "gradient", "gradient, math attention"
_PATIENCE = 3.0  # seconds; slower calls take part in a few rounds only
_FEW = 2
_LONG = 1.0  # seconds; calls that long are warmed up by one
_COMPARED = 2  # columns held against the reference
_UNIT_REPEATS = 3  # gradients per round, so that the unit is no noisier than what it measures


@dataclass
class Cost:
    """What was found for one candidate.

    Attributes
    ----------
    candidate : Candidate or None
        None for the gradient under math attention.
    per_round : list of float
        Cost in gradients, by round: per vector, and for several blocks of all of them.
    seconds : float
        Median of the same.
    vectors : int
        Per call.
    deviation : float or None
        From the float64 reference, relative.
    allowed : float
        What it may be for products that are right.
    refusal : str
        Why there is no figure; empty where there is one.
    """

    candidate: Candidate | None
    per_round: list[float]
    seconds: float
    vectors: int
    deviation: float | None = None
    allowed: float = 0.0
    refusal: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether it counts."""
        return bool(self.per_round) and self.deviation is not None and self.deviation <= self.allowed


def row(cost: Cost) -> dict[str, Any]:
    """Return the columns that every table of costs has."""
    name = cost.candidate.name if cost.candidate else UNIT_MATH
    remark = cost.refusal
    if cost.candidate and isinstance(cost.candidate.prepare, Engine) and cost.candidate.prepare.name == "auto":
        remark = remark or f"chose {cost.candidate.prepare.chosen}"
    if cost.per_round and cost.candidate and not cost.is_exact:
        remark = "WRONG, not counted"
    return {
        "product by": name,
        "vectors": cost.vectors,
        "gradients": Spread.of(cost.per_round) if cost.per_round else None,
        "ms": 1e3 * cost.seconds if cost.per_round else None,
        "deviation": cost.deviation,
        "rounds": len(cost.per_round),
        "remark": remark,
    }


def measured(work: Workload, blocks: list[Block], *, vectors: int, rounds: int, whole: bool) -> list[Cost]:
    """Warm all candidates up, compare them with the reference, and time them in turns.

    On an accelerator each candidate takes turns with the gradient alone, so that not all of them hold their graphs
    at the same time.
    """
    columns = work.columns(blocks, vectors)
    truth = _Truth.of(work, blocks, columns)
    _give_back(work.device)
    chosen = [one for one in taking_part(work.device) if (one.whole if whole else one.blocks)]
    batches = [[one] for one in chosen] if work.device == "cuda" else [chosen]
    costs = [cost for batch in batches for cost in _in_turns(work, blocks, columns, truth, batch, rounds)]
    units = [cost for cost in costs if cost.candidate is None]
    return units[:1] + [cost for cost in costs if cost.candidate is not None]


def best(costs: Sequence[Cost], *, ours: bool) -> Cost | None:
    """Return the cheapest exact one, of our engines or of the others."""
    exact = [cost for cost in costs if cost.candidate and cost.candidate.ours is ours and cost.is_exact]
    return min(exact, key=lambda cost: Spread.of(cost.per_round).median, default=None)


def chosen_by_default(costs: Sequence[Cost]) -> Cost | None:
    """Return what a user gets without naming an engine."""
    auto = [cost for cost in costs if cost.candidate and cost.candidate.name == "hessent auto" and cost.is_exact]
    return auto[0] if auto else None


@dataclass(frozen=True)
class _Truth:
    """Reference products with the first columns, and how far right products in float32 may be from them."""

    products: list[Tensor]
    allowed: float

    @classmethod
    def of(cls, work: Workload, blocks: list[Block], columns: list[Tensor]) -> _Truth:
        compared = [V[:, :_COMPARED] for V in columns]
        exact = reference_products(work, blocks, compared)
        rounded = reference_products(work, blocks, compared, torch.float32)
        return cls(exact, max(_ROUNDING, _KINKS * deviation(rounded, exact)))

    def deviation(self, found: list[Tensor]) -> float:
        """Compare the columns that both have."""
        both = min(found[0].shape[1], self.products[0].shape[1])
        return deviation([part[:, :both] for part in found], [exact[:, :both] for exact in self.products])


def _in_turns(
    work: Workload,
    blocks: list[Block],
    columns: list[Tensor],
    truth: _Truth,
    candidates: Sequence[Candidate],
    rounds: int,
) -> list[Cost]:
    tasks: dict[str, Task] = {
        UNIT: partial(_gradients, work),
        UNIT_MATH: partial(_gradients, work, math=True),
    }
    for task in tasks.values():
        task()
    costs = {UNIT_MATH: Cost(None, [], 0.0, _UNIT_REPEATS)}
    few: dict[str, int] = {}
    for candidate in candidates:
        given = columns if candidate.together else [V[:, :1] for V in columns]
        cost = costs[candidate.name] = Cost(candidate, [], 0.0, given[0].shape[1], allowed=truth.allowed)
        try:
            task, products, seconds = _warmed_up(candidate, work, blocks, given)
        except (HessentError, RuntimeError) as error:
            cost.refusal = f"refused: {' '.join(str(error).split())[:160]}"
            continue
        tasks[candidate.name] = task
        cost.deviation = truth.deviation(products)
        if candidate.beside or seconds > _PATIENCE or cost.deviation > cost.allowed:
            few[candidate.name] = min(_FEW, rounds)
    seconds_per_round = interleave(tasks, rounds, few=few, clock=clock_for(work.device))
    units = [seconds / _UNIT_REPEATS for seconds in seconds_per_round[UNIT]]
    for name, cost in costs.items():
        if name in tasks:
            own = [seconds / cost.vectors for seconds in seconds_per_round[name]]
            cost.per_round, cost.seconds = ratios(own, units), statistics.median(own)
    tasks.clear()
    _give_back(work.device)
    return list(costs.values())


def _warmed_up(
    candidate: Candidate, work: Workload, blocks: list[Block], columns: list[Tensor]
) -> tuple[Task, list[Tensor], float]:
    """Call a candidate until it has paid what only first calls pay; returns its task, products and last seconds."""
    with sdpa_kernel(SDPBackend.MATH):
        multiply = candidate.prepare(work, blocks)
    clock = clock_for(work.device)
    for _ in range(2):
        start = clock()
        products = _multiplied(multiply, columns)
        seconds = clock() - start
        if seconds > _LONG:
            break
    return partial(_multiplied, multiply, columns), products, seconds


def _multiplied(multiply: Multiply, columns: list[Tensor]) -> list[Tensor]:
    with sdpa_kernel(SDPBackend.MATH):
        return multiply(columns)


def _gradients(work: Workload, *, math: bool = False) -> None:
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        for _ in range(_UNIT_REPEATS):
            gradient(work)


def _give_back(device: str) -> None:
    """Free what nobody holds any more, reference cycles included, for the next candidate."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def against(name: str, own: Cost, other: Cost | None, bound: float = 1.0) -> list[Bar]:
    """Return the bar that ours over the best exact other, round by round, is at most `bound`."""
    if other is None or other.candidate is None:
        return []
    claim = f"{name}: ours over the best exact other ({other.candidate.name}) at most {bound:g}"
    return [Bar(claim, Spread.of(ratios(own.per_round, other.per_round)), bound)]
