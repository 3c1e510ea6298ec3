"""Where a product that is not finite comes from: the pass is repeated micro-batch by micro-batch to find it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.containers import num_samples
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.finite import counts, is_finite
from hessent.curvature.problem import Problem
from hessent.errors import NonFiniteError, memory_ran_out

_FIX = "--dtype float64, or look for overflow in the model's activations"


def non_finite_product(problem: Problem, block: Block, V: Tensor, engine: str) -> NonFiniteError:
    """Return the error that names the block, the first micro-batch that spoils the product, and the tensor.

    Parameters
    ----------
    problem : Problem
        Whose data the product was computed of.
    block : Block
        Which block was multiplied.
    V : Tensor
        Its columns, shape (n_b, k).
    engine : str
        Who multiplied.
    """
    found = f"a product with block '{block.name}' is not finite"
    if not is_finite(V):
        return NonFiniteError(f"{found}, because the vector it is multiplied with is not: {counts(V)} numbers")
    try:
        origin = next(_origins(problem, block, V.to(problem.dtype)), None)
    except (RuntimeError, MemoryError) as error:
        if not memory_ran_out(error):
            raise
        return NonFiniteError(found, fix=_FIX)
    if origin is None:
        return NonFiniteError(
            found,
            problems=[f"double backward gives finite numbers: the engine '{engine}' is at fault"],
            fix="--engine retained",
        )
    return NonFiniteError(
        found, problems=[origin], expected="finite second derivatives at the checkpoint's weights", fix=_FIX
    )


def _origins(problem: Problem, block: Block, V: Tensor) -> Iterator[str]:
    """Yield a sentence for every micro-batch whose gradient or product is not finite."""
    first = 0
    for index, (inputs, targets) in enumerate(problem.micro_batches()):
        stop = first + num_samples(inputs)
        place = f"micro-batch {index} (samples {first:,} to {stop - 1:,}, counted from 0)"
        graph = DoubleBackward(problem, inputs, targets)
        spoilt = [name for name, gradient in graph.gradients.items() if not is_finite(gradient)]
        if spoilt:
            yield f"{place}: the gradient itself, first in '{spoilt[0]}'"
        sizes = [problem.parameters[name].numel() for name in block.parameters]
        for name, part in zip(block.parameters, torch.split(graph.products(block, V), sizes), strict=True):
            if not is_finite(part):
                yield f"{place}: first in '{name}': {counts(part)} of {part.numel():,} values"
        first = stop
