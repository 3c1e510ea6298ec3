"""Shapes and weights of networks, for the tests of this room."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hessent.arch.architecture import BuiltModel
from hessent.arch.registry import build


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a network's state dict, as a checkpoint would show them."""
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def build_meta(name: str, **options: Any) -> BuiltModel:
    """Build a fresh network without numbers: quick at any size."""
    with torch.device("meta"):
        return build(name, options=options, where="test")


def shapes_from(name: str, **options: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a fresh network."""
    return shapes_of(build_meta(name, **options).model)


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give all tensors, norm statistics too, numbers that let signals through; return it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            scale = tensor.ndim == 1 and key.endswith((".weight", ".running_var"))
            if scale:  # of a norm
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / max(tensor[0].numel(), 4) ** 0.5)
    return model.eval()
