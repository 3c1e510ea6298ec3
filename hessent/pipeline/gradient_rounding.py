"""How far rounding alone moves the gradient of a mini-batch.

Measured by the same gradient in float64: a bound by the gradient's own size is none where its terms cancel, as they
do for the bias of the keys in attention, of which the gradient is zero up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hessent.curvature.problem import Problem
from hessent.data.stream import BatchStream
from hessent.errors import HessentError
from hessent.pipeline.mini_batches import gradient_of


def gradient_rounding(problem: Problem, stream: BatchStream, samples: Tensor) -> dict[str, float]:
    """Return the squared length, by parameter, of what rounding adds to the gradient of the mean loss."""
    found = gradient_of(problem, stream, samples)
    unit = torch.finfo(problem.dtype).eps
    least = {name: unit**2 * float(gradient.square().sum()) for name, gradient in found.items()}
    if problem.dtype == torch.float64:
        return least
    try:
        precise = Problem(problem.model, problem.loss, (), device=problem.device, dtype=torch.float64)
        exact = gradient_of(precise, stream, samples)
    except (RuntimeError, HessentError):
        return least  # the model runs in this precision alone, or there is no room for another
    return {name: max(bound, float((found[name] - exact[name]).square().sum())) for name, bound in least.items()}
