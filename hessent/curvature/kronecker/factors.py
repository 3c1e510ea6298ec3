"""The Kronecker factors of all layers that have them, from one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.containers import num_samples
from hessent.curvature.groups import Division, in_groups
from hessent.curvature.kronecker.capture import Capture, output_gradients
from hessent.curvature.kronecker.coverage import Coverage
from hessent.curvature.kronecker.output_roots import MOST_EXACT, OutputRoots, output_roots
from hessent.curvature.kronecker.sums import LayerSums
from hessent.curvature.out_of_memory import ShrinkableBatches, retried
from hessent.curvature.problem import Problem, exact_derivatives


class StoppedError(Exception):
    """Somebody asked for the end."""


@dataclass(frozen=True)
class Factoring:
    """How factors are made.

    Attributes
    ----------
    reduce : bool
        Whether positions that share a weight are averaged and summed first.
    draws : int
        Random square roots per sample; 0 for the exact ones.
    seed : int
        Of the random ones.
    """

    reduce: bool
    draws: int
    seed: int


@dataclass(frozen=True, eq=False)
class Factors:
    """Second moments by layer.

    Attributes
    ----------
    coverage : Coverage
        Which layers have them.
    factoring : Factoring
        How they were made.
    items : NDArray[np.int64]
        Items of each data group, shape (g,); of all the data where it is not divided.
    """

    coverage: Coverage
    factoring: Factoring
    items: NDArray[np.int64]
    sums: dict[str, LayerSums]


def num_columns(problem: Problem) -> int:
    """Return the outputs of a sample: the backward passes that exact factors take."""
    inputs, _ = next(iter(problem.micro_batches()))
    with torch.no_grad(), exact_derivatives(problem.model):
        outputs = problem.outputs(inputs)
    return int(outputs.shape[1:].numel()) if isinstance(outputs, Tensor) else 0


def measure_factors(
    problem: Problem,
    coverage: Coverage,
    factoring: Factoring,
    division: Division,
    *,
    advanced: Callable[[int], None] = lambda done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Factors:
    """Sum the second moments over all data.

    Parameters
    ----------
    problem : Problem
        With its loss measured.
    coverage : Coverage
        The layers.
    factoring : Factoring
        How.
    division : Division
        Groups of the data.
    advanced : callable
        Told how many backward passes of a sample are done by now.
    should_stop : callable
        Asked between backward passes.

    Returns
    -------
    Factors

    Raises
    ------
    UsageError
        If the loss has no square root.
    StoppedError
        If `should_stop` said so.
    ComputationError
        If memory runs out with a single sample at a time.
    """
    roots = output_roots(problem.loss)
    items = np.array([problem.num_items]) if division.items is None else division.items
    batches = ShrinkableBatches(problem.batches)

    def attempt() -> dict[str, LayerSums]:
        sums = {
            layer.name: LayerSums(layer, reduce=factoring.reduce, num_groups=len(items), device=problem.device)
            for layer in coverage.layers
        }
        run = _Pass(problem.recut(batches), factoring, roots, list(sums.values()), advanced, should_stop)
        run.over(division.ends)
        return sums

    return Factors(coverage, factoring, items, retried(attempt, batches.halve))


@dataclass(eq=False)
class _Pass:
    """One pass over the data."""

    problem: Problem
    factoring: Factoring
    roots: OutputRoots
    sums: Sequence[LayerSums]
    advanced: Callable[[int], None]
    should_stop: Callable[[], bool]
    done: int = 0

    def over(self, ends: Sequence[int]) -> None:
        first = 0
        with exact_derivatives(self.problem.model):
            for group, (inputs, targets) in in_groups(self.problem.micro_batches(), ends):
                self._micro_batch(group, inputs, targets, first)
                first += num_samples(inputs)

    def _micro_batch(self, group: int, inputs: Any, targets: Any, first: int) -> None:
        with Capture([own.layer for own in self.sums]) as capture:
            outputs: Tensor = self.problem.outputs(inputs)
        calls = [capture.calls[own.layer.name] for own in self.sums]
        for own, seen in zip(self.sums, calls, strict=True):
            own.add_inputs(group, seen)
            seen.inputs.clear()
        at, factoring = outputs.detach(), self.factoring
        if factoring.draws:
            drawn = {"draws": factoring.draws, "seed": factoring.seed, "first": first}
            columns, count = self.roots.drawn(at, targets, **drawn), factoring.draws
        else:
            columns, count = self.roots.exact(at, targets), at.shape[1:].numel()
        for number, cotangent in enumerate(columns, start=1):
            if self.should_stop():
                raise StoppedError
            gradients, _ = output_gradients(outputs, cotangent, calls, keep=number < count)
            for own, by_call in zip(self.sums, gradients, strict=True):
                own.add_outputs(group, by_call)
            self.done += len(at)
            self.advanced(self.done)


def draws_for(columns: int, asked: int | None) -> int:
    """Return how many random square roots to take: none where exact ones are few and nobody asked."""
    if asked is not None:
        return asked
    return 0 if columns <= MOST_EXACT else 1
