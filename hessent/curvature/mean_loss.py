"""The loss over all data, micro-batch by micro-batch, with what spoils it named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hessent.curvature.containers import num_samples, samples
from hessent.curvature.finite import first_bad_sample, refuse_samples
from hessent.errors import NonFiniteError

if TYPE_CHECKING:
    from hessent.curvature.problem import Problem


def sum_losses(problem: Problem) -> tuple[float, int, int]:
    """Evaluate the loss of every micro-batch, checking targets against outputs.

    Parameters
    ----------
    problem : Problem
        Model, loss and data.

    Returns
    -------
    tuple of (float, int, int)
        Loss summed over all items, their number, and the number of samples.

    Raises
    ------
    DataError
        If a target does not fit the outputs, or inputs or targets are not finite.
    NonFiniteError
        If the loss of a micro-batch is NaN or infinite; names micro-batch and sample.
    """
    total, items, count = 0.0, 0, 0
    for index, (inputs, targets) in enumerate(problem.micro_batches()):
        part, part_items = _checked_loss(problem, inputs, targets, index, count)
        total += part
        items += part_items
        count += num_samples(inputs)
    return total, items, count


def _checked_loss(problem: Problem, inputs: Any, targets: Any, index: int, first: int) -> tuple[float, int]:
    """Summed loss and items of micro-batch `index`; its outputs are gone before those of the next are made."""
    refuse_samples(inputs, targets, index, lambda row: problem.title_of(first + row))
    outputs = problem.outputs(inputs)
    problem.loss.check(outputs, targets, f"micro-batch {index}")
    part = float(problem.loss.sum(outputs, targets))
    if not abs(part) < float("inf"):
        raise _non_finite(problem, inputs, targets, index, first, part)
    return part, problem.loss.count(outputs, targets)


def _non_finite(problem: Problem, inputs: Any, targets: Any, index: int, first: int, part: float) -> NonFiniteError:
    """Evaluate the samples of a micro-batch one by one, to name the first that spoils the loss."""

    def alone(row: int) -> float:
        outputs = problem.outputs(samples(inputs, row, row + 1))
        return float(problem.loss.sum(outputs, samples(targets, row, row + 1)))

    row = first_bad_sample(alone, inputs)
    return NonFiniteError(
        f"the loss of micro-batch {index} is {part}",
        problems=[] if row is None else [f"first in {problem.title_of(first + row)}"],
        expected="a finite loss at the checkpoint's weights",
        fix="check the checkpoint and the data's normalisation; --dtype float64 if it overflows",
    )
