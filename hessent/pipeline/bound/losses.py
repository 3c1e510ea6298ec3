"""Losses in [0, 1] of a classifier: at its own weights, and at weights near them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hessent.curvature.problem import Problem, exact_derivatives


@dataclass(frozen=True)
class BoundedLosses:
    """Means over all samples, each in 0 … 1.

    Attributes
    ----------
    wrong : float
        Share of samples whose largest output is not the target's; an output that is not finite is wrong.
    clipped : float
        Cross-entropy in nats, cut off at 1.
    """

    wrong: float
    clipped: float


def losses_of(problem: Problem) -> BoundedLosses:
    """Return the losses of a problem at its weights."""
    wrong, clipped, count = 0, 0.0, 0
    with torch.no_grad(), exact_derivatives(problem.model):
        for inputs, targets in problem.micro_batches():
            outputs = problem.outputs(inputs)
            sound = torch.isfinite(outputs).all(dim=-1)
            wrong += int(((outputs.argmax(dim=-1) != targets) | ~sound).sum())
            each = functional.cross_entropy(outputs.double(), targets, reduction="none").clamp(0.0, 1.0)
            clipped += float(torch.where(sound, each, 1.0).sum())
            count += len(targets)
    return BoundedLosses(wrong / count, clipped / count)


def with_own_weights(problem: Problem) -> Problem:
    """Return the same problem with weights of its own, that may be moved: graphs of the other stay as they are."""
    other = copy.copy(problem)
    other.model = copy.deepcopy(problem.model)
    named = dict(other.model.named_parameters())
    other.parameters = {name: named[name] for name in problem.parameters}
    return other


@contextmanager
def moved(problem: Problem, direction: Tensor) -> Iterator[None]:
    """Add a vector of all parameters, in the model's order, to the weights; they are put back afterwards."""
    kept = {name: parameter.detach().clone() for name, parameter in problem.parameters.items()}
    try:
        with torch.no_grad():
            first = 0
            for parameter in problem.parameters.values():
                part = direction[first : first + parameter.numel()]
                parameter.copy_(parameter.double() + part.reshape(parameter.shape))
                first += parameter.numel()
        yield
    finally:
        with torch.no_grad():
            for name, parameter in problem.parameters.items():
                parameter.copy_(kept[name])
