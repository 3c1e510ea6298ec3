"""What one forward pass shows of layers: their inputs, and where gradients by their outputs are to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from hessent.curvature.kronecker.layers import FactorLayer


@dataclass(eq=False)
class Calls:
    """The calls of one layer in one forward pass.

    Attributes
    ----------
    inputs : list of Tensor
        By call.
    outputs : list of GradientEdge
        By call: the outputs as the layer made them, whatever was done to them in place afterwards.
    """

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[GradientEdge] = field(default_factory=list)


class Capture:
    """Watches layers while it is entered.

    Parameters
    ----------
    layers : sequence of FactorLayer
        Whose calls are recorded.

    Attributes
    ----------
    calls : dict of str to Calls
        By name of the layer; empty for one that was not called, or outside the graph.
    """

    def __init__(self, layers: Sequence[FactorLayer]) -> None:
        self._layers = layers
        self._handles: list[RemovableHandle] = []
        self.calls = {layer.name: Calls() for layer in layers}

    def __enter__(self) -> Capture:
        """Begin to watch."""
        for layer in self._layers:
            hook = self._hook(self.calls[layer.name])
            self._handles.append(layer.module.register_forward_hook(hook, with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()

    @staticmethod
    def _hook(calls: Calls) -> Any:
        def note(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Tensor) -> None:
            if output.requires_grad:
                calls.inputs.append((arguments[0] if arguments else keywords["input"]).detach())
                calls.outputs.append(get_gradient_edge(output))

        return note


def output_gradients(
    outputs: Tensor, cotangent: Tensor, calls: Sequence[Calls], *, beside: Sequence[Tensor] = (), keep: bool
) -> tuple[list[list[Tensor | None]], tuple[Tensor | None, ...]]:
    """Pull a cotangent of the model's outputs back to the outputs of layers.

    Parameters
    ----------
    outputs : Tensor
        Of the model.
    cotangent : Tensor
        In their shape.
    calls : sequence of Calls
        Of the layers.
    beside : sequence of Tensor
        Parameters whose gradients are wanted too.
    keep : bool
        Whether the graph is needed again.

    Returns
    -------
    list of list of Tensor or None
        Gradients by layer and call; None where the outputs do not depend on a call.
    tuple of Tensor or None
        Gradients by `beside`.
    """
    edges = [edge for own in calls for edge in own.outputs]
    wanted: Any = [*edges, *beside]  # torch takes both kinds together, which its types do not say
    found = torch.autograd.grad(outputs, wanted, cotangent, retain_graph=keep, allow_unused=True)
    by_layer: list[list[Tensor | None]] = []
    start = 0
    for own in calls:
        stop = start + len(own.outputs)
        by_layer.append(list(found[start:stop]))
        start = stop
    return by_layer, found[start:]
