"""How many threads multiply fastest: one, or all."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.engines.micro_batch import MicroBatch


def choose_threads(graph: MicroBatch, block: Block) -> None:
    """Set one thread for the whole process where it is no slower than all of them.

    Parameters
    ----------
    graph : MicroBatch
        What is multiplied with, on a CPU.
    block : Block
        The widest block.
    """
    V = torch.ones(block.size, 2, dtype=graph.problem.dtype)
    many = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = _fastest(graph, block, V)
    torch.set_num_threads(many)
    if alone < _fastest(graph, block, V):
        torch.set_num_threads(1)


def _fastest(graph: MicroBatch, block: Block, V: Tensor) -> float:
    """Seconds of the faster of two products (the first one pays for allocation)."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        graph.products(block, V)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
