"""The engines by name: what `--engine` chooses from, and the tuner too.

Those that need torch's function transforms are imported on first use: they take a moment to load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.micro_batch import MicroBatch
from hessent.curvature.problem import Problem
from hessent.errors import UsageError, suggest

AUTO = "auto"
_TOGETHER = 8  # vectors of a batched pass; on two CPU cores nothing was gained beyond


@dataclass(frozen=True)
class EngineKind:
    """One way to multiply.

    Attributes
    ----------
    name : str
        What `--engine` calls it.
    build : callable
        Makes it for one micro-batch: (problem, inputs, targets).
    at_once : int
        Vectors that go through one pass of it.
    kept_over_graph : float
        Bytes that it keeps between passes over those of a gradient graph; 0 where it keeps nothing.  A linear map
        of ResNet18, a ViT or a GPT took 1.2 to 1.6.
    devices : tuple of str
        Kinds of devices it runs on.
    transforms : bool
        Whether it uses torch's function transforms.
    building_over_graph : float
        Bytes that it takes for a moment while it is built, over those of a gradient graph.  Of the linear
        maps of ResNet18, a ViT and a GPT it was 2.5 to 3.0 in tensors; the process grew by 3.8 to 4.8.
    """

    name: str
    build: Callable[[Problem, Any, Any], MicroBatch]
    at_once: int
    kept_over_graph: float
    devices: tuple[str, ...] = ("cpu", "cuda")
    transforms: bool = False
    building_over_graph: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether what it builds is kept between passes where it fits in memory."""
        return self.kept_over_graph > 0.0


def _batched(problem: Problem, inputs: Any, targets: Any) -> MicroBatch:
    return DoubleBackward(problem, inputs, targets, at_once=_TOGETHER)


def _forward(problem: Problem, inputs: Any, targets: Any) -> MicroBatch:
    from hessent.curvature.engines.forward import ForwardOverReverse

    return ForwardOverReverse(problem, inputs, targets, at_once=_TOGETHER)


def _linearized(problem: Problem, inputs: Any, targets: Any) -> MicroBatch:
    from hessent.curvature.engines.linearized import Linearized

    return Linearized(problem, inputs, targets)


def _replayed(problem: Problem, inputs: Any, targets: Any) -> MicroBatch:
    from hessent.curvature.engines.replayed import ReplayedBackward

    return ReplayedBackward(problem, inputs, targets)


_KINDS = {
    kind.name: kind
    for kind in (
        EngineKind("retained", DoubleBackward, at_once=1, kept_over_graph=1.0),
        # The same graphs, rebuilt on every pass and shared by all its blocks and vectors.
        EngineKind("lockstep", DoubleBackward, at_once=1, kept_over_graph=0.0),
        EngineKind("batched", _batched, at_once=_TOGETHER, kept_over_graph=1.0),
        EngineKind("forward", _forward, at_once=_TOGETHER, kept_over_graph=0.0, transforms=True),
        EngineKind(
            "linearized", _linearized, at_once=1, kept_over_graph=1.6, transforms=True, building_over_graph=5.0
        ),
        EngineKind("replayed", _replayed, at_once=1, kept_over_graph=3.0, devices=("cuda",)),
    )
}
ENGINES = (AUTO, *_KINDS)


def engine_kind(name: str) -> EngineKind:
    """Return the engine of a name.

    Raises
    ------
    UsageError
        If there is none, or `auto` is given where one must be named.
    """
    if name not in _KINDS:
        raise UsageError(
            f"'{name}' is not an engine", where="--engine", expected=" | ".join(ENGINES), fix=suggest(name, ENGINES)
        )
    return _KINDS[name]


def kinds_for(device: str) -> tuple[EngineKind, ...]:
    """Return the engines that run on a kind of device."""
    return tuple(kind for kind in _KINDS.values() if device in kind.devices)
