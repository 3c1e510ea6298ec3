"""The diagonal of the Gauss-Newton matrix: exactly where that is cheap, else by Gauss-Newton-Bartlett.

The matrix is (1/N) Σ_i J_iᵀ M_i J_i.  With random u_i of second moment M_i, independent between samples, the
gradient ĝ_S = Σ_{i in S} J_iᵀ u_i of any piece S of the data has E[ĝ_S²] = the diagonal of Σ_{i in S} J_iᵀ M_i
J_i, entry by entry.  Sophia takes labels drawn from the model for u, one piece and one draw every few steps.
Here u has random signs (`output_roots`: the same second moment, and never nothing at all where the model is
certain), the data is cut into many pieces, and each is drawn a few times: with p pieces and k draws an entry's
relative standard error is about √(2 / (p k)).

Reference: Liu, Li, Hall, Liang, Ma (2023), Sophia.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hessent.curvature.containers import num_samples, samples
from hessent.curvature.diagonal import unit_diagonal
from hessent.curvature.kronecker.factors import num_columns
from hessent.curvature.kronecker.output_roots import output_roots
from hessent.curvature.matrices.kinds import GaussNewton
from hessent.curvature.problem import Problem, exact_derivatives

MOST_PASSES = 512  # backward passes of single samples
_PIECES, _DRAWS = 64, 4


def gauss_newton_diagonal(problem: Problem, seed: int) -> tuple[dict[str, Tensor], str]:
    """Return the diagonal by parameter, float64, and how it was found, as a clause.

    Parameters
    ----------
    problem : Problem
        With its loss measured.
    seed : int
        Of the signs.

    Raises
    ------
    UsageError
        If the loss tells no square root of its second derivative.
    DataError
        If no parameter has any influence.
    """
    output_roots(problem.loss)
    if problem.num_samples * num_columns(problem) <= MOST_PASSES:
        metric = unit_diagonal(problem.with_curvature(GaussNewton()), seed=seed)
        exact = {name: scale.where(scale == 0, scale.pow(-2)) for name, scale in metric.scales.items()}
        return exact, "the exact diagonal of the Gauss-Newton matrix"
    diagonal, pieces = _drawn(problem, seed)
    error = math.sqrt(2 / (pieces * _DRAWS))
    return diagonal, f"Gauss-Newton-Bartlett over {pieces} parts of the samples, {_DRAWS} draws: ± {error:.0%}"


def _drawn(problem: Problem, seed: int) -> tuple[dict[str, Tensor], int]:
    names, variables = list(problem.parameters), list(problem.parameters.values())
    sums = [torch.zeros_like(value, dtype=torch.float64) for value in variables]
    roots, size, first, pieces = output_roots(problem.loss), -(-problem.num_samples // _PIECES), 0, 0
    with exact_derivatives(problem.model):
        for inputs, targets in problem.micro_batches():
            for start in range(0, num_samples(inputs), size):
                stop = min(start + size, num_samples(inputs))
                outputs: Tensor = problem.outputs(samples(inputs, start, stop))
                told = {"draws": _DRAWS, "seed": seed, "first": first}
                for draw, cotangent in enumerate(
                    roots.drawn(outputs.detach(), samples(targets, start, stop), **told), start=1
                ):
                    found = torch.autograd.grad(
                        outputs, variables, cotangent, retain_graph=draw < _DRAWS, materialize_grads=True
                    )
                    for total, gradient in zip(sums, found, strict=True):
                        total += gradient.to(torch.float64).square()
                first, pieces = first + stop - start, pieces + 1
    return {name: total / problem.num_items for name, total in zip(names, sums, strict=True)}, pieces
