"""The models and batches that products are timed on: random weights and data from a seed."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from hessent.arch.registry import build
from hessent.curvature.blocks import FULL, Block, resolve_blocks
from hessent.curvature.problem import Problem


class CrossEntropy(nn.CrossEntropyLoss):
    """Mean cross-entropy for logits (B, classes) as for (B, T, vocabulary): all positions count alike."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


@dataclass(frozen=True)
class Case:
    """A model and the batches it is measured with.

    Attributes
    ----------
    name : str
    arch : str
        A registry name.
    options : mapping
        Of the architecture.
    shape : tuple of int
        Of one input: an image, or (T,) tokens.
    classes : int
        Or the vocabulary.
    batch : mapping of str to int
        Samples per batch, by device.
    """

    name: str
    arch: str
    options: Mapping[str, Any]
    shape: tuple[int, ...]
    classes: int
    batch: Mapping[str, int]

    @property
    def loss(self) -> str:
        """The loss's name in the package."""
        return "next-token" if len(self.shape) == 1 else "cross-entropy"


@dataclass(frozen=True)
class Workload:
    """A model in eval mode with one batch, both on the device.

    Attributes
    ----------
    case : Case
    model : nn.Module
    inputs, targets : Tensor
    """

    case: Case
    model: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def device(self) -> str:
        """Where it lies, "cpu" or "cuda"."""
        return self.inputs.device.type

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The variables by name, tied ones once."""
        return dict(self.model.named_parameters())

    def problem(self) -> Problem:
        """Return the same as a problem of the package, in the model's precision."""
        dtype = next(iter(self.parameters.values())).dtype
        return Problem(
            self.model, self.case.loss, [(self.inputs, self.targets)], device=self.inputs.device, dtype=dtype
        )

    def whole(self) -> list[Block]:
        """Return the whole matrix as the only block."""
        size = sum(parameter.numel() for parameter in self.parameters.values())
        return [Block(FULL, tuple(self.parameters), size)]

    def layers(self) -> list[Block]:
        """Return one block per layer."""
        return list(resolve_blocks(self.model, self.parameters, ["layer"], full=False))

    def columns(self, blocks: Sequence[Block], count: int) -> list[Tensor]:
        """Return Gaussian columns (n_b, count) per block."""
        generator = torch.Generator().manual_seed(1)
        like = next(iter(self.parameters.values()))
        return [torch.randn(block.size, count, generator=generator).to(like) for block in blocks]


_IMAGES = {"image_size": (32, 32), "patch": 4, "classes": 10}
_CIFAR = {"stem": "cifar", "classes": 10}

CASES = {
    case.name: case
    for case in (
        Case("resnet18-w16", "resnet18", _CIFAR | {"width": 16}, (3, 32, 32), 10, {"cpu": 16, "cuda": 1024}),
        Case("vit-small", "vit", _IMAGES | {"width": 128, "depth": 6}, (3, 32, 32), 10, {"cpu": 8, "cuda": 512}),
        Case(
            "gpt-small",
            "gpt",
            {"vocab": 512, "context": 64, "width": 128, "depth": 6},
            (64,),
            512,
            {"cpu": 8, "cuda": 512},
        ),
        Case("resnet18-w64", "resnet18", _CIFAR | {"width": 64}, (3, 32, 32), 10, {"cpu": 8, "cuda": 512}),
        Case("vit-b16", "vit_base_patch16_224", {"classes": 1000}, (3, 224, 224), 1000, {"cpu": 1, "cuda": 64}),
        Case("gpt-124m", "gpt2", {}, (1024,), 50257, {"cpu": 1, "cuda": 4}),
    )
}
SETS = {"cpu": ("resnet18-w16", "vit-small", "gpt-small"), "cuda": ("resnet18-w64", "vit-b16", "gpt-124m")}


def workload(case: Case, device: str, *, samples: int | None = None) -> Workload:
    """Build a model with random weights and one random batch.

    Parameters
    ----------
    case : Case
    device : str
        "cpu" or "cuda".
    samples : int, optional
        Another batch size than the case's.

    Returns
    -------
    Workload
        In float32.  Batch norms have the running statistics of the batch, as a trained net would.
    """
    size = samples or case.batch[device]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(case.arch, options=dict(case.options), where="benchmark").model
        if len(case.shape) == 1:
            tokens = torch.randint(case.classes, (size, case.shape[0] + 1))
            inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        else:
            inputs, targets = torch.randn(size, *case.shape), torch.randint(case.classes, (size,))
    model, inputs, targets = model.to(device), inputs.to(device), targets.to(device)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = None  # the mean over batches, of which there is one
        with torch.no_grad():
            model.train()(inputs)
    return Workload(case, model.eval(), inputs, targets)


def gradient(work: Workload) -> tuple[Tensor, ...]:
    """Return the plain gradient, the unit of every cost: one forward and one backward pass as any training has."""
    loss = CrossEntropy()(work.model(work.inputs), work.targets)
    return torch.autograd.grad(loss, list(work.parameters.values()))


def reference_products(
    work: Workload, blocks: Sequence[Block], columns: Sequence[Tensor], dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Return the products (n_b, k) of all blocks by plain double backward, sharing no code with the package."""
    model = copy.deepcopy(work.model).to(dtype)
    inputs = work.inputs.to(dtype) if work.inputs.is_floating_point() else work.inputs
    parameters = dict(model.named_parameters())
    with sdpa_kernel(SDPBackend.MATH):
        loss = CrossEntropy()(model(inputs), work.targets)
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        by_name = dict(zip(parameters, gradients, strict=True))
        found = []
        for block, V in zip(blocks, columns, strict=True):
            chosen = [parameters[name] for name in block.parameters]
            products = []
            for v in V.to(dtype).T:
                pieces = torch.split(v, [parameter.numel() for parameter in chosen])
                inner = torch.zeros((), dtype=dtype, device=v.device)
                for name, piece in zip(block.parameters, pieces, strict=True):
                    inner = inner + (by_name[name] * piece.view_as(parameters[name])).sum()
                parts = torch.autograd.grad(inner, chosen, retain_graph=True, materialize_grads=True)
                products.append(torch.cat([part.reshape(-1) for part in parts]))
            found.append(torch.stack(products, dim=1))
    return found


def deviation(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Return ‖found − truth‖ / ‖truth‖ over all blocks together."""
    difference = sum(float((one.double() - other).square().sum()) for one, other in zip(found, truth, strict=True))
    return math.sqrt(difference / sum(float(other.square().sum()) for other in truth))
