"""One small model per kind of layer, with data: what every engine must multiply with rightly, or refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hessent.arch.registry import build


@dataclass(frozen=True)
class Kind:
    """A kind of model: how to make it, its loss, and one micro-batch."""

    name: str
    model: Callable[[], nn.Module]
    loss: Any
    inputs: Any
    targets: Tensor
    gradient_is_cut: bool = False  # the model holds constant what depends on parameters


class Recurrent(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attention(x, x, x, need_weights=False)
        return self.head(mixed.mean(dim=1))


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.joined, self.head = nn.Linear(4, 12), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.joined(x)[:, None].chunk(3, dim=-1)
        return self.head(functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)[:, 0, -1])


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(tokens)).mean(dim=1))


class PartlyUnused(nn.Module):
    """A parameter that the outputs never see, and one that they are linear in."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.shift = nn.Linear(3, 2), nn.Linear(3, 2), nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.used(x)) + self.shift


class Keyworded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, *, a: Tensor, b: Tensor) -> Tensor:
        return torch.tanh(self.left(a)) * self.right(b)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4).requires_grad_(False), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.head(torch.tanh(self.body(x))))


class InPlace(nn.Module):
    """Writes over what it computed: slices, masks and sums."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        hidden = functional.relu(hidden, inplace=True) + 0.5 * hidden
        collected = torch.zeros(len(x), 4, dtype=x.dtype, device=x.device)
        collected[:, :2] = hidden[:, :2].sin()
        collected[:, 2:] += hidden[:, 2:]
        return self.second(collected.masked_fill(x.sum(dim=1, keepdim=True) > 0, 0.1))


class Branching(nn.Module):
    """Control flow and a Python number that depend on the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        hidden = torch.tanh(hidden) if hidden.abs().sum() > 1e-3 else hidden
        return self.second(hidden / round(hidden.abs().max().item() + 1))


class HeldConstant(nn.Module):
    """A factor through which no gradient passes."""

    def __init__(self, hold: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.hold = nn.Linear(3, 4), nn.Linear(4, 2), hold

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return self.second(hidden * self.hold(hidden))


@torch.no_grad()
def _without_gradient(hidden: Tensor) -> Tensor:
    return hidden.exp()


def _switched_off_and_on(hidden: Tensor) -> Tensor:
    with torch.no_grad():
        scale = hidden.exp()
        with torch.enable_grad():
            shift = hidden.sin()
    return scale + shift


class Square(torch.autograd.Function):
    """An operation of the user's own, with a backward pass alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


class Between(nn.Module):
    """Any function between two linear layers."""

    def __init__(self, function: Callable[[Tensor], Tensor], outputs: int) -> None:
        super().__init__()
        self.first, self.second, self.function = nn.Linear(3, 6), nn.Linear(outputs, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)).flatten(1))


def _recomputed(hidden: Tensor) -> Tensor:
    return checkpoint(lambda h: torch.tanh(h) * h, hidden, use_reentrant=False)


def _sampled(hidden: Tensor) -> Tensor:
    places = hidden[:, :4].tanh().view(-1, 1, 2, 2)
    return functional.grid_sample(hidden.view(-1, 1, 2, 3), places, align_corners=False)


def _spectrum(hidden: Tensor) -> Tensor:
    return torch.view_as_real(torch.fft.rfft(hidden)).pow(3)


def _solved(hidden: Tensor) -> Tensor:
    matrix = hidden[:, :4].view(-1, 2, 2)
    return torch.linalg.solve(matrix @ matrix.mT + torch.eye(2).to(hidden), hidden[:, 4:, None])


def _built(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: build(name, options=options, where="test").model


def _resnet(**options: Any) -> Callable[[], nn.Module]:
    tiny = {"width": 2, "depths": (1, 1), "channels": 1, "classes": 3, "stem": "cifar", "norm_eps": 1e-2}
    return _built("resnet", **(tiny | options))


def _convolutional(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(3))


_BETWEEN: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "custom function": (Square.apply, 6),
    "checkpointing": (_recomputed, 6),
    "grid sampling": (_sampled, 2),
    "Fourier transform": (_spectrum, 8),
    "linear systems": (_solved, 2),
    "sorting": (lambda hidden: hidden.sort(dim=1)[0][:, :4].pow(3), 4),
    "scattering": (lambda h: torch.zeros_like(h).scatter_add_(1, (h > 0).long(), h).pow(3), 6),
}
_HOLDS: dict[str, Callable[[Tensor], Tensor]] = {
    "detach": lambda hidden: hidden.detach().exp(),
    "data": lambda hidden: hidden.data.exp(),
    "no_grad": _without_gradient,
    "no_grad, enable_grad": _switched_off_and_on,
}
_ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "softplus")
_VIT = {"width": 4, "depth": 1, "heads": 2, "hidden": 6, "patch": 4, "image_size": (8, 8), "channels": 1}
_GPT = {"vocab": 5, "context": 4, "width": 4, "depth": 1, "heads": 2, "hidden": 6}
_IMAGE_LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "GroupNorm": lambda: [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh()],
    "InstanceNorm": lambda: [nn.Conv2d(1, 3, 3), nn.InstanceNorm2d(3, affine=True), nn.Tanh()],
    "depthwise convolution": lambda: [nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Tanh()],
    "strided, dilated convolution": lambda: [nn.Conv2d(1, 3, 3, stride=2, padding=2, dilation=2), nn.Tanh()],
    "transposed convolution": lambda: [nn.ConvTranspose2d(1, 3, 3, stride=2), nn.Tanh()],
    "max pooling": lambda: [nn.Conv2d(1, 3, 3), nn.Tanh(), nn.MaxPool2d(2)],
    "average pooling": lambda: [nn.Conv2d(1, 3, 3), nn.AvgPool2d(3, stride=2), nn.Tanh()],
    "adaptive max pooling": lambda: [nn.Conv2d(1, 3, 3), nn.AdaptiveMaxPool2d(3), nn.Tanh()],
    "upsampling": lambda: [nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Tanh()],
}


def kinds() -> dict[str, Kind]:
    """Return all kinds by name."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (3,), generator=generator)
    tokens = torch.randint(0, 5, (3, 5), generator=generator)
    following = tokens[:, 1:].clone()
    following[1, 2:] = -1
    rows, pairs = torch.randn(4, 3, generator=generator), torch.randn(4, 2, generator=generator)
    sequences = torch.randn(4, 3, 4, generator=generator)
    two_inputs = {"a": rows, "b": torch.randn(4, 3, generator=generator)}

    found = [
        Kind(f"mlp, {act}", _built("mlp", sizes=(3, 4, 2), activation=act), "mse", rows, pairs)
        for act in _ACTIVATIONS
    ]
    found += [
        Kind(f"ResNet, {act}", _resnet(depths=(1,), activation=act), "cross-entropy", images, labels)
        for act in _ACTIVATIONS
    ]
    found += [
        Kind("ResNet, two stages", _resnet(), "cross-entropy?label_smoothing=0.1", images, labels),
        Kind(
            "ResNet, bottleneck", _resnet(block="bottleneck", depths=(1,), width=1), "cross-entropy", images, labels
        ),
        Kind("ResNet, max-pool", _resnet(depths=(1,), max_pool=True), "cross-entropy", images, labels),
        Kind("ViT, class token", _built("vit", classes=3, **_VIT), "cross-entropy", images, labels),
        Kind("ViT, average", _built("vit", classes=3, class_token=False, **_VIT), "cross-entropy", images, labels),
        Kind("GPT, tied", _built("gpt", **_GPT), "next-token", tokens[:, :-1], following),
        Kind("GPT, free head", _built("gpt", tied=False, **_GPT), "next-token", tokens[:, :-1], following),
        Kind("LSTM", lambda: Recurrent(nn.LSTM(4, 3, batch_first=True)), "mse", sequences, pairs),
        Kind("GRU", lambda: Recurrent(nn.GRU(4, 3, batch_first=True)), "mse", sequences, pairs),
        Kind("RNN", lambda: Recurrent(nn.RNN(4, 3, batch_first=True)), "mse", sequences, pairs),
        Kind("Embedding", Embedded, "mse", tokens[:2], pairs[:2], gradient_is_cut=True),
        Kind("MultiheadAttention", Attentive, "mse", sequences, pairs),
        Kind("causal attention", Causal, "mse", sequences, pairs),
        Kind("RMSNorm", lambda: nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4), nn.Linear(4, 2)), "mse", rows, pairs),
        Kind(
            "LayerNorm",
            lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
            "mse",
            rows,
            pairs,
        ),
        Kind("unused parameters", PartlyUnused, "mse", rows, pairs),
        Kind("inputs by keyword", Keyworded, "mse", two_inputs, pairs),
        Kind("frozen parameters", Frozen, "mse", rows, pairs),
        Kind("custom loss", lambda: nn.Linear(3, 2), _logarithmic, rows, pairs),
        Kind("in place", InPlace, "mse", rows, pairs),
        Kind("branching", Branching, "mse", rows, pairs),
    ]
    found += [
        Kind(name, lambda layers=layers: _convolutional(*layers()), "cross-entropy", images, labels)
        for name, layers in _IMAGE_LAYERS.items()
    ]
    found += [
        Kind(name, lambda parts=parts: Between(*parts), "mse", rows, pairs) for name, parts in _BETWEEN.items()
    ]
    found += [
        Kind(name, lambda hold=hold: HeldConstant(hold), "mse", rows, pairs, gradient_is_cut=True)
        for name, hold in _HOLDS.items()
    ]
    return {kind.name: kind for kind in found}


def _logarithmic(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.log1p((outputs - targets).square().sum(dim=1)).mean()


def settled(kind: Kind) -> nn.Module:
    """Return the model in float64 and eval mode, away from zero biases and unit scales where terms would vanish."""
    torch.manual_seed(3)
    model = kind.model()
    if isinstance(kind.inputs, Tensor):
        with torch.no_grad():
            model.eval()(kind.inputs)  # sizes lazy layers
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.2 * torch.randn_like(buffer)
            if name.endswith("running_var"):
                buffer *= 0.5 + torch.rand_like(buffer)
    return model.double().eval()
