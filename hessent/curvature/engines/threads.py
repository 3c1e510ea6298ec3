"""How many threads multiply fastest: one, or all.  The answer is kept: it changes results by rounding."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.containers import shapes
from hessent.curvature.engines.micro_batch import MicroBatch
from hessent.curvature.engines.remembered import found_once, identity
from hessent.curvature.problem import Problem


def choose_threads(build: Callable[[], MicroBatch], inputs: Any, problem: Problem, block: Block) -> None:
    """Set one thread for the whole process where it is no slower than all of them.

    Parameters
    ----------
    build : callable
        Returns what is multiplied with, on a CPU; called only if nothing is known of the question.
    inputs
        Of the micro-batch that it is built of.
    problem : Problem
        Model, loss and data.
    block : Block
        The widest block.
    """
    many = torch.get_num_threads()
    question = {
        "what": "threads",
        "input": shapes(inputs),
        "block": list(block.parameters),
        "threads": many,
        **identity(problem),
    }
    known = found_once(
        question,
        lambda: {"threads": _quickest(build(), block)},
        fits=lambda known: known.get("threads") in (1, many),
    )
    torch.set_num_threads(int(known["threads"]))


def _quickest(graph: MicroBatch, block: Block) -> int:
    """One thread, or as many as there are; they are as many afterwards."""
    V = torch.ones(block.size, 2, dtype=graph.problem.dtype)
    many = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = _fastest(graph, block, V)
    finally:
        torch.set_num_threads(many)
    return 1 if alone < _fastest(graph, block, V) else many


def _fastest(graph: MicroBatch, block: Block, V: Tensor) -> float:
    """Seconds of the faster of two products (the first one pays for allocation)."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        graph.products(block, V)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
