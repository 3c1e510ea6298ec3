"""Layers that have Kronecker factors, and the rows that the factors are second moments of.

A linear layer computes s_nt = W a_nt + b for sample n at position t; so does a convolution, whose a_nt are the
patches of its input.  With a 1 appended to a_nt the bias is a column of W.  A grouped convolution is several such
layers side by side, each with channels of its own, and has a pair of factors for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class FactorLayer:
    """A linear layer or a convolution of a model.

    Attributes
    ----------
    name : str
        Of the module.
    module : nn.Linear or a convolution
        The layer itself.
    weight, bias : str or None
        Names of its parameters, None for one that is not there or not a variable of the problem.
    """

    name: str
    module: nn.Module
    weight: str | None
    bias: str | None

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters, in the model's order."""
        return tuple(name for name in (self.weight, self.bias) if name is not None)

    @property
    def num_pairs(self) -> int:
        """Number of factor pairs: the groups of a convolution."""
        return self.module.groups if isinstance(self.module, _ConvNd) else 1

    @property
    def output_size(self) -> int:
        """Outputs o of one pair."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return len(weight) // self.num_pairs

    @property
    def weight_size(self) -> int:
        """Inputs of one pair, the 1 of the bias left out; 0 where the weight is no variable."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return 0 if self.weight is None else weight[0].numel()

    @property
    def input_size(self) -> int:
        """Inputs a of one pair, the 1 of the bias included."""
        return self.weight_size + (self.bias is not None)

    def is_batched(self, inputs: Tensor) -> bool:
        """Whether inputs have a dimension for samples."""
        return (
            inputs.ndim >= 2 if isinstance(self.module, nn.Linear) else inputs.ndim == _dimensions(self.module) + 2
        )

    def input_rows(self, inputs: Tensor) -> Tensor:
        """Return the a_nt, shape (leading, positions, pairs, a), for inputs of the layer; 1 stands last."""
        if isinstance(self.module, nn.Linear):
            rows = inputs.reshape(len(inputs) if inputs.ndim > 1 else 1, -1, 1, inputs.shape[-1])
        else:
            rows = _patches(self.module, inputs if self.is_batched(inputs) else inputs[None])
        if self.weight is None:
            rows = rows[..., :0]
        return rows if self.bias is None else functional.pad(rows, (0, 1), value=1.0)

    def output_rows(self, gradients: Tensor) -> Tensor:
        """Return gradients by the layer's outputs as rows, shape (leading, positions, pairs, o)."""
        if isinstance(self.module, nn.Linear):
            return gradients.reshape(len(gradients) if gradients.ndim > 1 else 1, -1, 1, gradients.shape[-1])
        batched = gradients if self.is_batched(gradients) else gradients[None]
        channels_last = batched.flatten(2).transpose(1, 2)  # (leading, positions, channels)
        return channels_last.reshape(*channels_last.shape[:2], self.num_pairs, -1)


def factor_layers(model: nn.Module, parameters: Mapping[str, Tensor]) -> Iterator[FactorLayer]:
    """Yield the layers of a model that can have factors and hold a variable.

    Parameters
    ----------
    model : nn.Module
        The model.
    parameters : mapping of str to Tensor
        The variables.

    Yields
    ------
    FactorLayer
        In the model's order; a module that stands at several places once.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | _CONVOLUTIONS[0] | _CONVOLUTIONS[1] | _CONVOLUTIONS[2]):
            weight, bias = names.get(id(module.weight)), names.get(id(module.bias))
            if weight is not None or bias is not None:
                yield FactorLayer(name, module, weight, bias)


def _dimensions(module: nn.Module) -> int:
    return 1 if isinstance(module, nn.Conv1d) else 2 if isinstance(module, nn.Conv2d) else 3


def _patches(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return the patches of a convolution's input, shape (B, positions, groups, channels per group × kernel)."""
    assert isinstance(module, _ConvNd)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    patches = functional.pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
    count = inputs.ndim - 2
    for axis in range(count):
        dilation = int(module.dilation[axis])
        span = dilation * (int(module.kernel_size[axis]) - 1) + 1
        patches = patches.unfold(2 + axis, span, int(module.stride[axis]))[..., ::dilation]
    # (B, channels, positions…, kernel…) -> (B, positions…, channels, kernel…)
    patches = patches.permute(0, *range(2, 2 + count), 1, *range(2 + count, 2 + 2 * count))
    positions = patches.shape[1 : 1 + count].numel()
    return patches.reshape(len(inputs), positions, module.groups, -1)


def second_moments(rows: Tensor) -> Tensor:
    """Return Σ r rᵀ of rows (R, pairs, d) in float64, shape (pairs, d, d)."""
    by_pair = rows.to(torch.float64).transpose(0, 1)
    return by_pair.transpose(1, 2) @ by_pair
