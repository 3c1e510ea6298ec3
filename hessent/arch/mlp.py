"""Multilayer perceptrons: linear layers with an activation between, on flattened inputs."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from hessent.arch.activations import activation_function


class Perceptron(nn.Module):
    """A perceptron; its parameters are the options of `hessent.arch.mlp_reading.OPTIONS`."""

    def __init__(self, *, sizes: tuple[int, ...], bias: bool, activation: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs, bias=bias) for inputs, outputs in pairwise(sizes))
        self.act = activation_function(activation)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (B, …) to outputs (B, last size); there is no activation after the last layer."""
        hidden = inputs.flatten(1)
        for position, layer in enumerate(self.layers):
            hidden = layer(hidden if position == 0 else self.act(hidden))
        return hidden
