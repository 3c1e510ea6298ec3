"""Which engine a problem gets: the fastest of those that fit, timed once and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hessent.curvature.blocks import Block
from hessent.curvature.containers import shapes
from hessent.curvature.engines.catalogue import kinds_for
from hessent.curvature.engines.double_backward import gradient_graph_bytes
from hessent.curvature.engines.remembered import found_once, identity
from hessent.curvature.engines.tuner import Choice, Plan, Tuner
from hessent.curvature.problem import Problem


def choose_engine(
    problem: Problem,
    batch: tuple[Any, Any],
    share: float,
    work: Sequence[tuple[Block, int]],
    *,
    together: int,
    memory: int,
) -> Choice:
    """Time the candidates on one micro-batch, or remember what won under the same circumstances.

    Parameters
    ----------
    problem : Problem
        With its loss measured.
    batch : tuple
        Inputs and targets of a micro-batch.
    share : float
        Of all samples, that are in it.
    work : sequence of (Block, int)
        Blocks that stand for all, the widest first, with the products planned with their like.
    together : int
        Vectors that share a pass over the data.
    memory : int
        Bytes that what engines keep may take.
    """
    plan = Plan(tuple(work), together, max(round(1 / share), 1), memory, gradient_graph_bytes(problem, batch))
    fitting = [kind.name for kind in kinds_for(problem.device.type) if plan.fits(kind)]
    question = {
        "what": "engine",
        "input": shapes(batch[0]),
        "work": [[list(block.parameters), vectors.bit_length()] for block, vectors in work],
        "passes": [together, plan.micro_batches],
        "fits": fitting,
        **identity(problem),
    }
    known = found_once(
        question,
        lambda: asdict(Tuner(problem, batch, plan).choose()),
        fits=lambda known: known.get("engine") in fitting,
    )
    return Choice(str(known["engine"]), str(known.get("why")))
