"""The diagonal of a curvature that is built from the outputs, and the metric in which that diagonal is 1.

    C = (1/N) Σ_i J_iᵀ M_i J_i,  M_i = Σ_c u_c u_cᵀ   =>   C_jj = (1/N) Σ_i Σ_c (J_iᵀ u_c)_j²

So the diagonal is a sum of squared gradients of single samples: one backward pass for every output of a sample (for
the empirical Fisher matrix, for every item).  Where that is more than `_MOST_PASSES`, u is a sum of the u_c with
random signs, a few times per sample: the squares are unbiased, none of them is negative, and their scatter tells
the error.  Everything is in float64, because a parameter that does nothing must not be taken for one that does very
little.

R = D^{-1/2} C D^{-1/2} with D = diag(C) has ones on its diagonal, and its trace is the number of parameters.  A
parameter without any influence on the outputs of these samples (D_j = 0: that of a dead unit, the bias of
attention's keys) is dead: its row and column of C are zero, and they stay so in R.  It counts in n all the same.

What groups of the data contribute to R is seen through the same D, that of all data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.containers import num_samples, samples
from hessent.curvature.kronecker.output_roots import output_roots
from hessent.curvature.matrices.kinds import Curvature, EmpiricalFisher, Fisher, GaussNewton
from hessent.curvature.matrices.softmax_forms import SoftmaxForms
from hessent.curvature.metric import Metric
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.errors import DataError, UsageError

DIAGONAL = "diagonal"
_MOST_PASSES = 16_384  # backward passes of single samples
_LEAST_DRAWS = 4  # fewer do not tell their own error
_MOST_DRAWS = 16  # each has sums of its own
_DEAD = 1e-24  # of the largest entry: what float64 leaves of a gradient that is zero, squared


@dataclass(frozen=True, eq=False)
class UnitDiagonal(Metric):
    """The metric D in which the diagonal of a curvature is 1.

    Attributes
    ----------
    draws : int
        Random square roots per sample; 0 where D is exact.
    error : float
        Root mean square, over the parameters, of the relative standard error of D; 0 where it is exact.
    dead : dict of str to int
        Number of dead parameters of each tensor that has any.
    """

    draws: int = 0
    error: float = 0.0
    dead: dict[str, int] = field(default_factory=dict)

    def as_settings(self) -> dict[str, Any]:
        """Return what a file says of it."""
        return {
            "normalization": DIAGONAL,
            "unit_diagonal": {"draws": self.draws, "error": self.error, "dead": self.dead, "sha256": self.sha256},
        }


def require_diagonal(curvature: Curvature) -> None:
    """Refuse a matrix whose diagonal may not be positive, or is not known.

    Raises
    ------
    UsageError
        If it is no Gauss-Newton or exact Fisher matrix.
    """
    if not isinstance(curvature, GaussNewton | Fisher | EmpiricalFisher):
        raise UsageError(
            f"the diagonal of '{curvature.name}' as asked for is not taken",
            where=f"--normalization {DIAGONAL}",
            expected="--curvature ggn, fisher or empirical-fisher, without --fisher-samples",
        )


def unit_diagonal(problem: Problem, *, seed: int) -> UnitDiagonal:
    """Return the metric in which the diagonal of the problem's curvature is 1.

    Parameters
    ----------
    problem : Problem
        Its loss need not have been measured.
    seed : int
        Of the signs, where they are needed.

    Returns
    -------
    UnitDiagonal

    Raises
    ------
    UsageError
        If there is no way to this diagonal.
    DataError
        If no parameter has any influence.
    """
    require_diagonal(problem.curvature)
    double = Problem(problem.model, problem.loss, problem.batches, device=problem.device, dtype=torch.float64)
    double.curvature = problem.curvature
    sums = _squares(double, seed)
    draws = sums.draws
    parts = {name: part / sums.items for name, part in sums.by_name(sums.total).items()}
    largest = max(float(part.max()) for part in parts.values() if part.numel())
    if largest <= 0.0:
        raise DataError("no parameter has any influence on the outputs: the diagonal is zero")
    scales, dead, digest = {}, {}, hashlib.sha256()
    for name, part in parts.items():
        alive = part > _DEAD * largest
        scales[name] = torch.where(alive, part, 1.0).rsqrt() * alive
        if not bool(alive.all()):
            dead[name] = int((~alive).sum())
        digest.update(f"{name} {tuple(part.shape)} ".encode())
        digest.update(part.cpu().contiguous().numpy().tobytes())
    return UnitDiagonal(
        name=DIAGONAL,
        definition="the matrix's own diagonal",
        scales=scales,
        sha256=digest.hexdigest(),
        draws=draws,
        error=sums.error(_DEAD * largest * sums.items),
        dead=dead,
    )


class _Sums:
    """Squared gradients, summed over samples; with draws, their squares over draws as well."""

    def __init__(self, problem: Problem, draws: int) -> None:
        self._shapes = {name: parameter.shape for name, parameter in problem.parameters.items()}
        self.draws, self.items = draws, 0
        make = torch.zeros(max(draws, 1), problem.num_params, dtype=torch.float64, device=problem.device)
        self.by_draw = make

    @property
    def total(self) -> Tensor:
        """N · D, shape (n,)."""
        return self.by_draw.mean(0)

    def by_name(self, flat: Tensor) -> dict[str, Tensor]:
        pieces = torch.split(flat, [shape.numel() for shape in self._shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}

    def error(self, least: float) -> float:
        if not self.draws:
            return 0.0
        alive = self.total > least
        relative = self.by_draw.var(0)[alive] / self.draws / self.total[alive].square()
        return math.sqrt(float(relative.mean()))


def _squares(problem: Problem, seed: int) -> _Sums:
    sums: _Sums | None = None
    first = 0
    for inputs, targets in problem.micro_batches():
        for index in range(num_samples(inputs)):
            one, target = samples(inputs, index, index + 1), samples(targets, index, index + 1)
            with torch.enable_grad(), exact_derivatives(problem.model):
                outputs = problem.outputs(one)
                at = _tensor(outputs).detach()
                if sums is None:
                    sums = _Sums(problem, _draws(problem, at))
                for row, column in enumerate(_columns(problem, at, target, sums.draws, seed, first)):
                    found = torch.autograd.grad(
                        outputs,
                        list(problem.parameters.values()),
                        column,
                        retain_graph=True,
                        materialize_grads=True,
                    )
                    squared = torch.cat([part.reshape(-1) for part in found]).square_()
                    sums.by_draw[row if sums.draws else 0] += squared
            sums.items += problem.loss.count(at, target)
            first += 1
    if sums is None or sums.items == 0:
        raise DataError("the data holds no item to average over")
    return sums


def _tensor(outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise UsageError(
            f"the model's outputs are a {type(outputs).__name__}",
            where=f"--normalization {DIAGONAL}",
            expected="one tensor (samples, …)",
        )
    return outputs


def _draws(problem: Problem, at: Tensor) -> int:
    """How many random square roots per sample; none where exact ones are few."""
    count = problem.num_samples or sum(num_samples(inputs) for inputs, _ in problem.batches)
    if count * _num_columns(problem, at) <= _MOST_PASSES:
        return 0
    return max(min(_MOST_PASSES // count, _MOST_DRAWS), _LEAST_DRAWS)


def _num_columns(problem: Problem, at: Tensor) -> int:
    if not isinstance(problem.curvature, EmpiricalFisher):
        return at.shape[1:].numel()
    return at.shape[1:-1].numel() if isinstance(problem.loss.forms, SoftmaxForms) else 1


def _columns(problem: Problem, at: Tensor, target: Any, draws: int, seed: int, first: int) -> Iterator[Tensor]:
    """Yield the u of one sample; of draws, each with the whole of M as its expectation."""
    if not isinstance(problem.curvature, EmpiricalFisher):
        roots = _roots(problem)
        if not draws:
            yield from roots.exact(at, target)
            return
        for column in roots.drawn(at, target, draws=draws, seed=seed, first=first):
            yield column * math.sqrt(draws)
        return
    leaf = at.requires_grad_()
    (score,) = torch.autograd.grad(problem.loss.sum(leaf, target), leaf)
    at.requires_grad_(False)
    rows = _num_columns(problem, at)
    if draws:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + first) % 2**63)
        for _ in range(draws):
            signs = torch.randint(0, 2, (1, rows, 1), generator=generator).to(at) * 2 - 1
            yield (score.reshape(1, rows, -1) * signs).view_as(at)
        return
    for row in range(rows):
        mask = torch.zeros(1, rows, 1).to(at)
        mask[0, row] = 1.0
        yield (score.reshape(1, rows, -1) * mask).view_as(at)


def _roots(problem: Problem) -> Any:
    try:
        return output_roots(problem.loss)
    except UsageError as error:
        raise UsageError(
            f"the diagonal needs a square root of the loss's second derivative, not told by '{problem.loss.name}'",
            where=f"--normalization {DIAGONAL}",
            expected="--loss cross-entropy, next-token, mse or half-squared-error",
            fix="--curvature empirical-fisher, which takes any loss",
        ) from error
