"""Products for the solvers: from divided data while data groups are wanted, from whole micro-batches afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.operator import Product


class ServedProducts:
    """Answers requests of many blocks.

    Parameters
    ----------
    engine : HessianEngine
        Whose data may be divided into groups.
    """

    def __init__(self, engine: HessianEngine) -> None:
        self.engine = engine
        self._undivided: HessianEngine | None = None

    def answer(self, requests: Sequence[tuple[Block, Tensor, bool]]) -> list[Product]:
        """Return the products of (block, columns (n_b, k), whether data groups are wanted)."""
        engines = [self.engine if wanted else self.undivided for _, _, wanted in requests]
        products: dict[int, Product] = {}
        for engine in dict.fromkeys(engines):
            mine = [index for index, other in enumerate(engines) if other is engine]
            answers = engine.products([requests[index][:2] for index in mine])
            products.update(zip(mine, answers, strict=True))
        return [products[index] for index in range(len(requests))]

    @property
    def undivided(self) -> HessianEngine:
        """The same products from micro-batches that are not cut into groups: fewer, so faster on small data."""
        if self._undivided is None:
            own = self._undivided = self.engine
            if own.group_items is not None:
                room = max(own.memory - own.graph_bytes, 0) if own.keeps_graphs else 0
                whole = HessianEngine(own.problem, memory=room, engine=own.engine, notify=own.notify)
                # Rebuilding graphs at every pass costs more than many small ones that are kept.
                if whole.keeps_graphs or not own.keeps_graphs:
                    self._undivided = whole
        return self._undivided


def spare_thread(device: torch.device, threads: int) -> contextlib.AbstractContextManager[Executor | None]:
    """Return a thread for what solvers do between products, if `threads` for products leave a processor free."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device.type == "cpu" and processors > threads:
        return ThreadPoolExecutor(1, thread_name_prefix="solver")
    return contextlib.nullcontext()
