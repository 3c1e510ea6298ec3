"""Mini-batches drawn from the samples of a problem, with replacement.

So the gradient of one has exactly 1/B of the covariance of one sample's, however few samples there are: it
scatters as in a training on much more data.  Batches come as a stream that cannot be entered at will: one pass
picks out the samples that were drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.containers import map_tensors, num_samples
from hessent.curvature.problem import Problem

Batch = tuple[Any, Any]


def drawn_batches(problem: Problem, count: int, size: int, generator: torch.Generator) -> Iterator[list[Batch]]:
    """Draw mini-batches.

    Parameters
    ----------
    problem : Problem
        With its loss measured.
    count : int
        Mini-batches.
    size : int
        Samples B of each.
    generator : torch.Generator
        Of the draws, on the CPU.

    Yields
    ------
    list of (inputs, targets)
        The samples of a mini-batch, in pieces no larger than micro-batches are; none where samples differ in shape.
    """
    draws = torch.randint(problem.num_samples, (count, size), generator=generator)
    wanted = torch.unique(draws)  # ascending
    picked: list[Batch] = []
    first = most = 0
    for inputs, targets in problem.micro_batches():
        length = num_samples(inputs)
        inside = wanted[(wanted >= first) & (wanted < first + length)] - first
        if len(inside):
            picked.append((_rows(inputs, inside), _rows(targets, inside)))
        first, most = first + length, max(most, length)
    try:
        joined = _joined([inputs for inputs, _ in picked]), _joined([targets for _, targets in picked])
    except (RuntimeError, TypeError):  # sequences of several lengths
        return
    for draw in draws:
        places = torch.searchsorted(wanted, draw)
        yield [(_rows(joined[0], some), _rows(joined[1], some)) for some in torch.split(places, most)]


def _rows(value: Any, rows: Tensor) -> Any:
    """Return some samples of a container of tensors (B, …)."""
    return map_tensors(value, lambda tensor: tensor[rows.to(tensor.device)] if tensor.ndim > 0 else tensor)


def _joined(values: Sequence[Any]) -> Any:
    """Return containers of tensors (B, …) of one structure as one.

    Raises
    ------
    RuntimeError, TypeError
        If they do not fit together.
    """
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values)) if first.ndim > 0 else first
    if isinstance(first, dict):
        return {key: _joined([value[key] for value in values]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_joined(list(parts)) for parts in zip(*values, strict=True))
    return first
