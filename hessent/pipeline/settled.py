"""What a run found out by timing or by looking at the machine, and its successors take over.

Engine, micro-batches and threads change numbers by rounding, so a run that is gone on with, and processes that
share a run, must compute with the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hessent.curvature.engines.catalogue import ENGINES


@dataclass(frozen=True)
class Settled:
    """Choices that follow from the machine, not from what was asked.

    Attributes
    ----------
    memory : int
        Bytes that graphs and vectors may take together.
    batch_size : int
        Samples per micro-batch.
    threads : int
        Threads per product.
    engine, engine_why : str
        How products are computed, and why so.
    """

    memory: int
    batch_size: int
    threads: int
    engine: str
    engine_why: str

    def as_mapping(self) -> dict[str, Any]:
        """Return the choices as JSON knows them."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, stored: Any) -> Settled | None:
        """Return choices that were stored, or None where they are not all there and sound."""
        if not isinstance(stored, Mapping):
            return None
        if not all(isinstance(stored.get(f.name), _TYPES[str(f.type)]) for f in fields(cls)):
            return None
        settled = cls(**{f.name: stored[f.name] for f in fields(cls)})
        sound = min(settled.memory, settled.batch_size, settled.threads) >= 1 and settled.engine in ENGINES
        return settled if sound else None


_TYPES = {"int": int, "str": str}
