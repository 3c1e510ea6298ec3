"""Small trained nets with their whole Hessians: the spectra that every estimate is held against.

Each net is trained on the built-in digits and its Hessian (mean cross-entropy over some training images, eval mode)
is formed row by row in float64, by forward over reverse differentiation that shares no code with the package.
Building a net takes seconds, so the result is kept in `.exact_nets` beside this file, under a key of this file's
text and the versions of the libraries that compute.
"""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional

from hessent.data.registry import open_dataset

Float64Array = NDArray[np.float64]

KINDS = ("mlp", "conv", "attention")
CACHE = Path(__file__).with_name(".exact_nets")
_SAMPLES = {0: 192, 1: 256}  # images that a Hessian is averaged over, by variant


@dataclass(frozen=True)
class ExactNet:
    """A trained net, the images its curvature is averaged over, and that curvature.

    Attributes
    ----------
    kind : str
        One of `KINDS`, or "small".
    model : nn.Module
        In eval mode, float64.
    inputs, targets : Tensor
        Images (N, 1, 8, 8) float64 and labels (N,).
    matrix : Float64Array
        Hessian of the mean cross-entropy in nats, parameters in the model's order. Shape (n, n).
    eigenvalues : Float64Array
        Ascending. Shape (n,).
    accuracy : float
        Share of the training images classified rightly.
    """

    kind: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    matrix: Float64Array
    eigenvalues: Float64Array
    accuracy: float


class Attention(nn.Module):
    """Patches of 4 × 4 pixels, one pre-norm encoder layer, mean over the patches, a linear head."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Linear(16, width)
        self.position = nn.Parameter(0.02 * torch.randn(4, width))
        self.norm_attention, self.norm_mlp, self.norm_head = (nn.LayerNorm(width) for _ in range(3))
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = images.reshape(-1, 2, 4, 2, 4).transpose(2, 3).reshape(len(images), 4, 16)
        x = self.patch(patches) + self.position
        x = x + self._attend(self.norm_attention(x))
        x = x + self.narrow(functional.gelu(self.widen(self.norm_mlp(x))))
        return self.head(self.norm_head(x).mean(dim=1))

    def _attend(self, x: Tensor) -> Tensor:
        parts = self.query_key_value(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = (part.squeeze(2).transpose(1, 2) for part in parts.split(1, dim=2))
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        return self.mix((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


def _mlp(first: int, second: int, activation: type[nn.Module]) -> nn.Module:
    layers = [nn.Linear(64, first), activation(), nn.Linear(first, second), activation(), nn.Linear(second, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def _convolution(first: int, second: int, third: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels, width, stride in ((1, first, 2), (first, second, 2), (second, third, 1)):
        layers += [
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * third, 10))


def _small() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))


_NETS: dict[tuple[str, int], Callable[[], nn.Module]] = {
    ("mlp", 0): lambda: _mlp(28, 20, nn.ReLU),
    ("mlp", 1): lambda: _mlp(24, 32, nn.Tanh),
    ("conv", 0): lambda: _convolution(8, 12, 8),
    ("conv", 1): lambda: _convolution(6, 16, 10),
    ("attention", 0): lambda: Attention(14, 28, 2),
    ("attention", 1): lambda: Attention(14, 48, 1),
    ("small", 0): _small,
}


def training_images() -> tuple[Tensor, Tensor]:
    """Return all training images of the digits (N, 1, 8, 8) in float64, and their labels (N,)."""
    dataset = open_dataset("digits")
    inputs, targets = dataset.fetch(torch.arange(len(dataset)))
    return inputs.double(), targets


def dense_hessian(model: nn.Module, inputs: Tensor, targets: Tensor, *, chunk: int = 32) -> Float64Array:
    """Return the Hessian (n, n) of the mean cross-entropy, by products with all unit vectors in float64."""
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    sizes = [parameter.numel() for parameter in named.values()]
    theta = torch.cat([parameter.reshape(-1) for parameter in named.values()])

    def loss(flat: Tensor) -> Tensor:
        pieces = zip(named.items(), flat.split(sizes), strict=True)
        weights = {name: piece.view_as(parameter) for (name, parameter), piece in pieces}
        return functional.cross_entropy(functional_call(model, weights, (inputs,)), targets)

    def product(vector: Tensor) -> Tensor:
        return jvp(grad(loss), (theta,), (vector,))[1]

    unit_vectors = torch.eye(len(theta), dtype=torch.float64)
    with torch.no_grad(), warnings.catch_warnings():
        # torch's own forward differentiation compiles its rules with a function that torch calls deprecated.
        warnings.filterwarnings("ignore", message="`torch.jit.script`", category=DeprecationWarning)
        rows = torch.cat([vmap(product)(part) for part in unit_vectors.split(chunk)]).numpy()
    assert np.abs(rows - rows.T).max() <= 1e-12 * np.abs(rows).max()
    return (rows + rows.T) / 2


def trained(kind: str, variant: int = 0) -> tuple[nn.Module, float]:
    """Train a net anew; returns it in eval mode and float64, with its accuracy on the training images."""
    inputs, targets = training_images()
    generator = torch.Generator().manual_seed(100 + variant)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(10 * variant + 1)
        model = _NETS[kind, variant]().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(25):
        for batch in torch.randperm(len(inputs), generator=generator).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    model.eval().requires_grad_(True)
    with torch.no_grad():
        accuracy = float((model(inputs).argmax(dim=1) == targets).double().mean())
    assert accuracy > 0.95, f"{kind} reached {accuracy:.3f}"
    return model, accuracy


@functools.cache
def exact_net(kind: str, variant: int = 0) -> ExactNet:
    """Return a trained net with its dense Hessian, from the cache on disk where it is there.

    Parameters
    ----------
    kind : str
        "mlp" (ReLU or tanh), "conv" (convolutions and BatchNorm), "attention" (attention and LayerNorm), each with
        2,000–3,500 parameters, or "small" (an MLP of 910 parameters).
    variant : int
        0 or, except for "small", 1: another shape, seed and choice of images, and slower to build.
    """
    inputs, targets = training_images()
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(variant))
    chosen = order[: _SAMPLES[variant]].sort().values
    model = _NETS[kind, variant]().double().eval()
    path = CACHE / f"{kind}-{variant}-{_key()}.npz"
    if not path.exists():
        _build(path, kind, variant, inputs[chosen], targets[chosen])
    with np.load(path) as stored:
        state = {name: torch.as_tensor(stored[f"state/{name}"]) for name in model.state_dict()}
        matrix, eigenvalues, accuracy = stored["matrix"], stored["eigenvalues"], float(stored["accuracy"])
    model.load_state_dict(state)
    return ExactNet(kind, model, inputs[chosen], targets[chosen], matrix, eigenvalues, accuracy)


def _build(path: Path, kind: str, variant: int, inputs: Tensor, targets: Tensor) -> None:
    """Train, form the Hessian and write both beside, then rename: two test runs at once do no harm."""
    model, accuracy = trained(kind, variant)
    matrix = dense_hessian(model, inputs, targets)
    arrays = {f"state/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(exist_ok=True)
    for stale in path.parent.glob(f"{kind}-{variant}-*.npz"):
        stale.unlink(missing_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    with beside.open("wb") as file:
        np.savez(file, matrix=matrix, eigenvalues=np.linalg.eigvalsh(matrix), accuracy=accuracy, **arrays)
    beside.replace(path)


@functools.cache
def _key() -> str:
    text = Path(__file__).read_text(encoding="utf-8") + torch.__version__ + np.__version__
    return hashlib.sha256(text.encode()).hexdigest()[:16]
