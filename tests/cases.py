"""Problems whose Hessians are known: by closed form, or small enough for dense autograd in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from hessent.arch.registry import build

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Case:
    """A model with data, ready to be made a Problem; `mean_loss` is the oracle's own definition of the loss."""

    name: str
    model: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor
    loss: str
    mean_loss: Callable[[Any, Tensor], Tensor]

    def batches(self, *sizes: int) -> list[Batch]:
        """Cut the data into micro-batches of the given sizes (which must add up to all of it)."""
        assert sum(sizes) == len(self.inputs)
        return list(zip(self.inputs.split(list(sizes)), self.targets.split(list(sizes)), strict=True))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():  # away from zero biases and unit scales, where terms would vanish
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.2 * torch.randn_like(buffer)
            if name.endswith("running_var"):
                buffer *= 0.5 + torch.rand_like(buffer)
    return model.double().eval()


def dense_hessian(model: nn.Module, inputs: Tensor, targets: Tensor, mean_loss: Any) -> tuple[Tensor, list[str]]:
    """Hessian of the mean loss over ALL data by dense double backward in float64; names of its parameters."""
    model = model.double().eval()
    named = dict(model.named_parameters())
    names, shapes = list(named), [parameter.shape for parameter in named.values()]
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in named.values()])

    def loss(theta: Tensor) -> Tensor:
        pieces = theta.split([shape.numel() for shape in shapes])
        values = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        x = inputs.double() if inputs.is_floating_point() else inputs
        return mean_loss(functional_call(model, values, (x,), tie_weights=True), targets)

    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        hessian = torch.autograd.functional.hessian(loss, flat)
    return hessian, names


def columns_of(model: nn.Module, parameters: tuple[str, ...]) -> Tensor:
    """Indices of some parameters' entries in the flattened vector of all parameters."""
    pieces, start = {}, 0
    for name, parameter in model.named_parameters():
        pieces[name] = torch.arange(start, start + parameter.numel())
        start += parameter.numel()
    return torch.cat([pieces[name] for name in parameters])


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets)


def _next_token(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=-1)


def _vit() -> nn.Module:
    options = {"width": 8, "depth": 1, "heads": 2, "patch": 4, "image_size": 8, "channels": 1, "classes": 3}
    return build("vit", options=options, where="test").model


def _gpt() -> nn.Module:
    options = {"vocab": 11, "context": 6, "width": 8, "depth": 1, "heads": 2}
    return build("gpt", options=options, where="test").model


def _tokens(generator: torch.Generator) -> Batch:
    tokens = torch.randint(0, 11, (9, 7), generator=generator)
    targets = tokens[:, 1:].clone()
    targets[torch.rand(targets.shape, generator=generator) < 0.3] = -1  # unequal numbers per sample
    targets[4] = -1
    return tokens[:, :-1], targets


def cases() -> list[Case]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(9, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (9,), generator=generator)
    tokens, next_tokens = _tokens(generator)
    regression = torch.randn(9, 5, generator=generator), torch.randn(9, 2, generator=generator)
    return [
        Case("convolution+batchnorm", _resnet_small, images, labels, "cross-entropy", _cross_entropy),
        Case("layernorm+attention", _vit, images, labels, "cross-entropy", _cross_entropy),
        Case("gpt, tied head, ignored tokens", _gpt, tokens, next_tokens, "next-token", _next_token),
        Case("mlp, mse", _mlp, *regression, "mse", functional.mse_loss),
    ]


def _resnet_small() -> nn.Module:
    """Convolution, BatchNorm, residual and pooling in few parameters (a ResNet18 has 11,000 even at width 2)."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        _Residual(4),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2))
