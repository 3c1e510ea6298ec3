"""Operations that torch differentiates wrongly, without a warning, in one way of multiplying and not in others."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.autograd.graph import Node

# By the name of the node in the gradient's graph.  Measured against double backward, one vector at a time.
_WRONG_IN_BATCHES = {
    "NativeGroupNormBackward": "group_norm mixes vectors and samples where their shapes fit (error 40-60 %)",
}


def refuse_batches(gradients: Iterable[Tensor]) -> None:
    """Refuse to send several vectors at once back through a gradient graph that would mix them up.

    Parameters
    ----------
    gradients : iterable of Tensor
        Attached to their graph.

    Raises
    ------
    NotImplementedError
        Naming every operation concerned.
    """
    found = sorted(_names(gradients) & _WRONG_IN_BATCHES.keys())
    if found:
        reasons = "; ".join(_WRONG_IN_BATCHES[name] for name in found)
        raise NotImplementedError(f"second backward passes of several vectors at once are wrong here: {reasons}")


def _names(gradients: Iterable[Tensor]) -> set[str]:
    """Names of all nodes of the graph, without the number that torch appends."""
    waiting: list[Node | None] = [gradient.grad_fn for gradient in gradients]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return {node.name().rstrip("0123456789") for node in seen}
