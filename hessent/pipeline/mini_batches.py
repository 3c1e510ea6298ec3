"""Gradients of mini-batches at a checkpoint's weights, and of all the samples.

A mini-batch is a random set of the samples, as if it opened a pass over them: given the samples, mini-batches are
independent of each other.  With replacement each of its samples is drawn from all: the gradient then has exactly
1/B of the covariance of one sample's, however large B is against the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hessent.checkpoint.listing import printable
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.data.stream import BatchStream
from hessent.errors import NonFiniteError, UsageError
from hessent.pipeline.request import first_known

DEFAULT_BATCH_SIZE = 64


def mini_batch_size(asked: int | None, trained: Mapping[str, Any], stream: BatchStream) -> int:
    """Return the samples of a mini-batch: as asked, as in the training, else 64.

    Raises
    ------
    UsageError
        If there are fewer samples.
    """
    told = trained.get("batch_size")
    known = told if isinstance(told, int) and told > 0 else DEFAULT_BATCH_SIZE
    size = int(first_known(asked, min(known, stream.num_samples)))
    if size > stream.num_samples:
        raise UsageError(
            f"--batch-size {size}: there are {stream.num_samples} samples", expected=f"1 to {stream.num_samples}"
        )
    return size


def drawn_samples(
    stream: BatchStream, batches: int, size: int, seed: int, *, replacement: bool = False
) -> Iterator[Tensor]:
    """Yield the samples of each mini-batch, as indices of the dataset."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    for _ in range(batches):
        if replacement:
            yield stream.order[torch.randint(stream.num_samples, (size,), generator=generator)]
        else:
            yield stream.order[torch.randperm(stream.num_samples, generator=generator)[:size]]


def gradient_of(problem: Problem, stream: BatchStream, samples: Tensor) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over some samples, by parameter, in float64."""
    parts = (stream.dataset.fetch(piece) for piece in torch.split(samples, stream.batch_size))
    return mean_gradient(problem.with_batches(list(parts)))


def mean_gradient(problem: Problem) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all samples, by parameter, summed in float64.

    Raises
    ------
    NonFiniteError
        If it is not finite.
    """
    names, variables = list(problem.parameters), list(problem.parameters.values())
    totals = [torch.zeros_like(value, dtype=torch.float64) for value in variables]
    items = 0
    with exact_derivatives(problem.model):
        for inputs, targets in problem.micro_batches():
            loss, count = problem.loss_sum(inputs, targets)
            found = torch.autograd.grad(loss, variables, allow_unused=True)
            items += count
            for total, gradient in zip(totals, found, strict=True):
                if gradient is not None:
                    total += gradient
    mean = {name: total / max(items, 1) for name, total in zip(names, totals, strict=True)}
    wrong = [name for name, gradient in mean.items() if not bool(gradient.isfinite().all())]
    if wrong:
        raise NonFiniteError(
            f"the gradient of {printable(wrong[0])} is not finite", expected="finite losses", fix="--dtype float64"
        )
    return mean
