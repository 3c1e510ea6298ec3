"""The gradient of the mean loss, of all the data, without each group of it, and of mini-batches, as sums.

The entropy of a gradient needs Σ|g| and Σ|g| log|g| alone, which add up over the parameters of a block.  Gradients
are summed in float64.  What rounding leaves in one is told by what cancels in it: every piece of the data is known
to a few units in the last place (1 to 7 were measured on trained nets in float32), so the sum of pieces that
nearly cancel is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hessent.checkpoint.listing import printable
from hessent.curvature.groups import Division, in_groups
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.errors import NonFiniteError

_ROUNDINGS = 8  # in the last place, of the gradient of one piece of the data

Gradient = dict[str, Tensor]
Sums = dict[str, tuple[float, float, float]]  # by parameter: Σ|g|, Σg², Σ|g| log|g|
Pieces = Iterable[tuple[Any, Any]]


@dataclass(frozen=True)
class Gradients:
    """What one pass over the data gives.

    Attributes
    ----------
    total : dict of str to Tensor
        Gradient of the mean loss over all items, by parameter, in float64.
    sums : dict
        Its sums.
    left_out : list of dict
        Those of the gradient without each group of the data; empty where it is not divided.
    rounding : dict of str to float
        Σ|error| that rounding is expected to leave in the gradient, by parameter.
    """

    total: Gradient
    sums: Sums
    left_out: list[Sums]
    rounding: dict[str, float]


def gradients(problem: Problem, division: Division) -> Gradients:
    """Take the gradient of all the data, group by group.

    Parameters
    ----------
    problem : Problem
        With its loss measured.
    division : Division
        Groups of the data.

    Raises
    ------
    NonFiniteError
        If the gradient is not finite.
    """
    whole, group = _Mean(problem), _Mean(problem)
    groups: list[tuple[Gradient, int]] = []
    current = 0
    for number, (inputs, targets) in in_groups(problem.micro_batches(), division.ends):
        if number != current:
            groups.append((group.taken(problem.dtype), group.items))
            group, current = _Mean(problem), number
        found, items = _summed(problem, inputs, targets)
        whole.add(found, items)
        if division.ends:
            group.add(found, items)
    if division.ends:
        groups.append((group.taken(problem.dtype), group.items))
    items, magnitudes = whole.items, whole.magnitudes()
    total = whole.taken()
    _require_finite(total)
    unit = _ROUNDINGS * torch.finfo(problem.dtype).eps
    return Gradients(
        total=total,
        sums=sums_of(total),
        left_out=[sums_of(_without(total, items, *one)) for one in groups],
        rounding={name: unit * magnitude for name, magnitude in zip(total, magnitudes, strict=True)},
    )


def mean_gradient(problem: Problem, pieces: Pieces) -> Gradient:
    """Return the gradient of the mean loss over some samples, by parameter, in float64.

    Raises
    ------
    NonFiniteError
        If it is not finite.
    """
    mean = _Mean(problem)
    for inputs, targets in pieces:
        mean.add(*_summed(problem, inputs, targets))
    found = mean.taken()
    _require_finite(found)
    return found


def sums_of(gradient: Mapping[str, Tensor]) -> Sums:
    """Return Σ|g|, Σg² and Σ|g| log|g| of every parameter."""
    rows = []
    for values in gradient.values():
        size = values.double().abs()
        rows.append(torch.stack([size.sum(), size.square().sum(), torch.xlogy(size, size).sum()]))
    return {name: (a, b, c) for name, (a, b, c) in zip(gradient, torch.stack(rows).tolist(), strict=True)}


class _Mean:
    """A mean gradient that is being summed up."""

    def __init__(self, problem: Problem) -> None:
        self.items = 0
        parameters = problem.parameters
        self._sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        self._magnitudes = torch.zeros(len(parameters), dtype=torch.float64, device=problem.device)

    def add(self, gradient: Sequence[Tensor | None], items: int) -> None:
        """Add a gradient summed over some items, by parameter in the problem's order."""
        self.items += items
        for position, (total, part) in enumerate(zip(self._sums.values(), gradient, strict=True)):
            if part is not None:
                total += part
                self._magnitudes[position] += part.abs().sum(dtype=torch.float64)

    def magnitudes(self) -> list[float]:
        """Return, by parameter, the sum of Σ|g| of what was added, divided by the items."""
        found: list[float] = (self._magnitudes / max(self.items, 1)).tolist()
        return found

    def taken(self, dtype: torch.dtype = torch.float64) -> Gradient:
        """Return the mean, in place of the sum."""
        return {name: total.div_(max(self.items, 1)).to(dtype) for name, total in self._sums.items()}


def _summed(problem: Problem, inputs: Any, targets: Any) -> tuple[Sequence[Tensor | None], int]:
    """Return the gradient summed over the items of a micro-batch, by parameter, and their number."""
    with torch.enable_grad(), exact_derivatives(problem.model):
        loss, items = problem.loss_sum(inputs, targets)
        if not loss.requires_grad:
            return [None] * len(problem.parameters), items
        return torch.autograd.grad(loss, list(problem.parameters.values()), allow_unused=True), items


def _without(total: Gradient, items: int, left_out: Gradient, count: int) -> Gradient:
    """Return the mean gradient without a group of `count` items."""
    return {name: (items * total[name] - count * left_out[name].double()) / (items - count) for name in total}


def _require_finite(gradient: Gradient) -> None:
    wrong = [name for name, values in gradient.items() if not bool(values.isfinite().all())]
    if wrong:
        raise NonFiniteError(
            f"the gradient of {printable(wrong[0])} is not finite", expected="finite losses", fix="--dtype float64"
        )
