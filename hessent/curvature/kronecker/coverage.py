"""Which layers K-FAC covers: those whose factors account for the whole gradient of their parameters.

With b_nt the gradient by a layer's outputs, the gradient of its weight is Σ b_nt a_ntᵀ, if the weight takes part in
nothing but the layer's own calls.  That is tried out on the first micro-batch: a weight that also serves as an
embedding, or is used by a function past its module (as `nn.MultiheadAttention` does), fails, whatever the model's
code looks like.  The reduced factors sum over the positions of each sample, so there the first dimension of a
layer's input must be that of the samples: that is tried out too, by pulling back a single sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hessent.curvature.containers import num_samples
from hessent.curvature.kronecker.capture import Calls, Capture, output_gradients
from hessent.curvature.kronecker.layers import FactorLayer, factor_layers
from hessent.curvature.problem import Problem, exact_derivatives

_WITHIN = {torch.float32: 1e-3, torch.float64: 1e-8}  # relative; what is missing shows as a whole term
_NOT_CALLED = "its module is not called (a function takes its parameters), or its output leads to nothing"
_ELSEWHERE = "its parameters are used elsewhere too, or otherwise than by calling it"
_NOT_SAMPLES = (
    "its input's first dimension is not that of the samples, of which reduced factors need the sums; "
    "--kfac-approx expand covers it"
)


@dataclass(frozen=True)
class Coverage:
    """What has factors and what has not.

    Attributes
    ----------
    layers : tuple of FactorLayer
        Those that are covered, in the model's order.
    refused : mapping of str to str
        Layers of the right kind that are not covered: why.
    """

    layers: tuple[FactorLayer, ...]
    refused: Mapping[str, str]

    @property
    def parameters(self) -> dict[str, FactorLayer]:
        """The layer of every covered parameter."""
        return {name: layer for layer in self.layers for name in layer.parameters}


def find_coverage(problem: Problem, *, reduce: bool) -> Coverage:
    """Find the layers whose factors account for their curvature.

    Parameters
    ----------
    problem : Problem
        With its loss measured.
    reduce : bool
        Whether factors of sums over positions are wanted.

    Returns
    -------
    Coverage
    """
    layers = tuple(factor_layers(problem.model, problem.parameters))
    inputs, _ = next(iter(problem.micro_batches()))
    with exact_derivatives(problem.model):
        with Capture(layers) as capture:
            outputs = problem.outputs(inputs)
        if not isinstance(outputs, Tensor) or not outputs.requires_grad:
            return Coverage((), {layer.name: _NOT_CALLED for layer in layers})
        refused = _refused(problem, layers, capture.calls, outputs, num_samples(inputs), reduce=reduce)
    return Coverage(tuple(layer for layer in layers if layer.name not in refused), refused)


def uncovered_kinds(model: nn.Module, parameters: Sequence[str], covered: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of modules that own variables without factors, as class names, sorted."""
    owners = {name.rpartition(".")[0] for name in parameters if name not in covered}
    kinds = {
        type(module).__name__ if name else "the model itself"
        for name, module in model.named_modules()
        if name in owners
    }
    return tuple(sorted(kinds))


def _refused(
    problem: Problem,
    layers: Sequence[FactorLayer],
    by_name: Mapping[str, Calls],
    outputs: Tensor,
    count: int,
    *,
    reduce: bool,
) -> dict[str, str]:
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.randn(outputs.shape, generator=generator, dtype=torch.float64).to(outputs)
    calls = [by_name[layer.name] for layer in layers]
    names = [name for layer in layers for name in layer.parameters]
    by_layer, found = output_gradients(
        outputs, cotangent, calls, beside=[problem.parameters[name] for name in names], keep=True
    )
    wanted = dict(zip(names, found, strict=True))
    refused = {}
    for layer, own, gradients in zip(layers, calls, by_layer, strict=True):
        if all(gradient is None for gradient in gradients):
            refused[layer.name] = _NOT_CALLED
        elif not _accounts(layer, own, gradients, wanted, _WITHIN[problem.dtype]):
            refused[layer.name] = _ELSEWHERE
    if reduce:
        alone = torch.zeros_like(cotangent)
        alone[:1] = cotangent[:1]
        by_layer, _ = output_gradients(outputs, alone, calls, keep=False)
        for layer, own, gradients in zip(layers, calls, by_layer, strict=True):
            if layer.name not in refused and not _is_by_sample(layer, own, gradients, count):
                refused[layer.name] = _NOT_SAMPLES
    return refused


def _accounts(
    layer: FactorLayer,
    calls: Calls,
    gradients: Sequence[Tensor | None],
    wanted: Mapping[str, Tensor | None],
    within: float,
) -> bool:
    """Whether Σ b aᵀ over the calls of a layer is the gradient of its parameters."""
    total = torch.zeros((), dtype=torch.float64)
    for inputs, gradient in zip(calls.inputs, gradients, strict=True):
        if gradient is not None:
            a, b = (
                rows.to(torch.float64).flatten(0, 1)
                for rows in (layer.input_rows(inputs), layer.output_rows(gradient))
            )
            total = total.to(b.device) + torch.einsum("rpo,rpa->poa", b, a)
    pieces = {layer.weight: total[..., : layer.weight_size], layer.bias: total[..., layer.weight_size :]}
    for name in layer.parameters:
        gradient = wanted[name]
        if gradient is None:
            return False
        missing = gradient.to(torch.float64) - pieces[name].reshape(gradient.shape)
        if not float(missing.norm()) <= within * float(gradient.norm()):
            return False
    return True


def _is_by_sample(layer: FactorLayer, calls: Calls, gradients: Sequence[Tensor | None], count: int) -> bool:
    """Whether the outputs of a layer are rows of samples, of which the first alone moves the first outputs."""
    for inputs, gradient in zip(calls.inputs, gradients, strict=True):
        if not layer.is_batched(inputs) or len(inputs) != count:
            return False
        if gradient is not None and bool(gradient[1:].any()):
            return False
    return True
