"""The empirical Fisher matrix of every block from the gradients of single samples, without a product.

    C = (1/N) Σ_i g_i g_iᵀ = Gᵀ G / N,  with the N gradients as rows of G, shape (N, n)

Of a block with more parameters than samples, G Gᵀ / N (N × N) has all eigenvalues of C that are not zero; of a
smaller one C itself is formed.  Both need nothing but the gradients, one backward pass each: about what a few
products with the whole matrix cost, where a sampled spectrum takes hundreds, and the result is exact.

Where the gradients of all samples do not fit in memory, as many as do are held, and those of the later samples are
computed again beside each such part.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.containers import num_samples, samples
from hessent.curvature.groups import Division
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.errors import NonFiniteError

_AT_ONCE = 64  # gradients of later samples that are multiplied together
_COLUMNS = 1 << 16  # summed in the gradients' precision; beyond, in float64

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class SecondMoment:
    """One block's second moment of the gradients, in its smaller form.

    Attributes
    ----------
    gram : Float64Array or None
        G Gᵀ, not divided by N, shape (N, N).
    groups : Float64Array or None
        Σ g gᵀ over the samples of each data group, shape (g, n, n); one group where the data is undivided.
    """

    gram: Float64Array | None = None
    groups: Float64Array | None = None


class SecondMoments:
    """Second moments of several blocks, from the same passes over the data.

    Parameters
    ----------
    problem : Problem
        Loss measured; an item is a sample.
    blocks : sequence of Block
        Which.
    division : Division
        Groups of the data.
    memory : int
        Bytes that gradients may take at a time.
    poll : callable
        Called after every sample; may raise to stop.
    """

    def __init__(
        self,
        problem: Problem,
        blocks: Sequence[Block],
        division: Division,
        *,
        memory: int,
        poll: Callable[[], None],
    ) -> None:
        self._problem, self._division, self._poll = problem, division, poll
        self._count = problem.num_samples
        self._columns = {block: _columns(problem, block) for block in blocks}
        self._rows = max(memory // (problem.num_params * problem.dtype.itemsize) - _AT_ONCE, _AT_ONCE)
        self._gram = {block: np.zeros((self._count,) * 2) for block in blocks if block.size > self._count}
        num_groups = len(division.ends) + 1
        self._small = {
            block: np.zeros((num_groups, block.size, block.size)) for block in blocks if block not in self._gram
        }

    def compute(self) -> dict[Block, SecondMoment]:
        """Go through the data as often as memory demands.

        Returns
        -------
        dict of Block to SecondMoment

        Raises
        ------
        NonFiniteError
            If a gradient is not finite.
        """
        for start in range(0, self._count, self._rows):
            held: Tensor | None = None
            for first, rows in self._chunks(start):
                if held is None:
                    held = rows
                    self._add_small(start, held)
                self._multiply(start, held, first, rows)
        for matrix in self._gram.values():
            matrix += np.triu(matrix, 1).T - np.tril(matrix, -1)
        return {block: SecondMoment(gram=matrix) for block, matrix in self._gram.items()} | {
            block: SecondMoment(groups=matrix) for block, matrix in self._small.items()
        }

    def _chunks(self, start: int) -> Iterator[tuple[int, Tensor]]:
        """Gradients from a sample on, with the first's number: as many as are held, then the later by the few."""
        first, size, filled = start, self._rows, 0
        rows = self._room(size, first)
        for sample, gradient in self._gradients(start):
            rows[filled] = gradient
            filled += 1
            if filled == len(rows):
                yield first, rows
                first, filled = sample + 1, 0
                rows = self._room(_AT_ONCE, first)

    def _room(self, rows: int, first: int) -> Tensor:
        problem = self._problem
        return torch.empty(
            min(rows, self._count - first), problem.num_params, dtype=problem.dtype, device=problem.device
        )

    def _gradients(self, start: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the number and the gradient (n,) of every sample from `start` on."""
        problem = self._problem
        parameters = list(problem.parameters.values())
        scales = None
        if problem.metric is not None:
            scales = torch.cat([problem.metric.scales[name].reshape(-1) for name in problem.parameters])
            scales = scales.to(problem.device, problem.dtype)
        number = -1
        for inputs, targets in problem.micro_batches():
            for index in range(num_samples(inputs)):
                number += 1
                if number < start:
                    continue
                one = samples(inputs, index, index + 1), samples(targets, index, index + 1)
                with torch.enable_grad(), exact_derivatives(problem.model):
                    total, _ = problem.loss_sum(*one)
                    found = torch.autograd.grad(total, parameters, materialize_grads=True)
                gradient = torch.cat([part.reshape(-1) for part in found])
                if not bool(torch.isfinite(gradient).all()):
                    raise NonFiniteError(
                        f"the gradient of {problem.title_of(number)} is not finite",
                        expected="finite derivatives at the checkpoint's weights",
                        fix="--dtype float64, or look for overflow in the model's activations",
                    )
                if scales is not None:
                    gradient *= scales
                self._poll()
                yield number, gradient

    def _multiply(self, start: int, held: Tensor, first: int, rows: Tensor) -> None:
        """Inner products of the gradients held, from number `start`, with others, from number `first`."""
        for block, matrix in self._gram.items():
            part = matrix[start : start + len(held), first : first + len(rows)]
            for columns in self._columns[block]:
                part += (held[:, columns] @ rows[:, columns].T).double().cpu().numpy()

    def _add_small(self, start: int, held: Tensor) -> None:
        """Outer products of the gradients held, by data group."""
        ends = [0, *self._division.ends, self._count]
        for group, (begin, end) in enumerate(itertools.pairwise(ends)):
            rows = slice(max(begin - start, 0), min(end - start, len(held)))
            if rows.start >= rows.stop:
                continue
            for block, matrices in self._small.items():
                part = torch.cat([held[rows, columns] for columns in self._columns[block]], dim=1).double()
                matrices[group] += (part.T @ part).cpu().numpy()


def _columns(problem: Problem, block: Block) -> list[slice]:
    """Where a block's parameters stand in a gradient of them all, in pieces short enough to be summed at once."""
    sizes = [parameter.numel() for parameter in problem.parameters.values()]
    starts = dict(zip(problem.parameters, itertools.accumulate([0, *sizes[:-1]]), strict=True))
    return [
        slice(start, min(start + _COLUMNS, end))
        for name in block.parameters
        for end in [starts[name] + problem.parameters[name].numel()]
        for start in range(starts[name], end, _COLUMNS)
    ]
