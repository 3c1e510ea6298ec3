"""The gradient of every block, reduced to numbers: found out once per run, as JSON values.

Mini-batches are of the size of the training, as far as there are samples, and few where that is much of the data:
so all of it costs some passes over the data, less than the check and one look at a block take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.drawn_batches import drawn_batches
from hessent.curvature.engine import HessianEngine
from hessent.curvature.gradients import Gradients, Sums, gradients, mean_gradient, sums_of
from hessent.curvature.problem import Problem
from hessent.eigensolver.probes import generator_for
from hessent.spectra.gradients import REDUCED, BlockGradient

DEFAULT_BATCH_SIZE = 64
_BATCHES, _LEAST_BATCHES = 16, 4
_PASSES = 8  # over the data, that mini-batches may take together


class GradientVectors:
    """The gradient of the mean loss by all parameters, in the precision of the products.

    Parameters
    ----------
    problem : Problem
        Whose gradient it is.
    found : Gradients
        Where it is in.
    """

    def __init__(self, problem: Problem, found: Gradients) -> None:
        self._parts = {name: values.to(problem.dtype).reshape(-1) for name, values in found.total.items()}

    def of(self, block: Block) -> Tensor:
        """Return its entries for the parameters of a block, shape (n,)."""
        return torch.cat([self._parts[name] for name in block.parameters])


def trained_batch_size(optimizer: Mapping[str, Any]) -> int | None:
    """Return the samples of a mini-batch that a checkpoint's metadata tell of, None where they do not."""
    told = optimizer.get("batch_size")
    return told if type(told) is int and told > 0 else None


def find_gradients(
    engine: HessianEngine, blocks: Sequence[Block], *, batch_size: int | None, seed: int, sampled_fraction: float
) -> tuple[dict[str, Any], GradientVectors]:
    """Take the gradients and reduce them: JSON values, and the gradient itself.

    Parameters
    ----------
    engine : HessianEngine
        Knows the problem, the groups of its data, and what to do where memory runs out.
    blocks : sequence of Block
        All of the run.
    batch_size : int or None
        Samples of a mini-batch, cut to those there are; None for 64.
    seed : int
        Of the mini-batches.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.
    """
    size = min(batch_size or DEFAULT_BATCH_SIZE, engine.problem.num_samples)
    found = engine.retried(lambda problem: gradients(problem, engine.division))
    batches = engine.retried(lambda problem: _batch_sums(problem, size, seed))
    items = engine.group_items
    facts = {
        "batch_size": size,
        "items": None if items is None else items.tolist(),
        "sampled_fraction": sampled_fraction,
        "blocks": {block.name: _reduced_block(block, found, batches) for block in blocks},
    }
    return facts, GradientVectors(engine.problem, found)


def gradient_vectors(engine: HessianEngine) -> GradientVectors:
    """Return the gradient itself, as the process has it that found out the facts."""
    return GradientVectors(engine.problem, engine.retried(lambda problem: gradients(problem, engine.division)))


def gradients_from(facts: Mapping[str, Any] | None) -> dict[str, BlockGradient]:
    """Return the gradients by block from what `find_gradients` returned; empty where nothing was.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is something else.
    """
    if facts is None:
        return {}
    items = facts["items"]
    return {
        str(name): BlockGradient(
            total=np.array(block["total"], dtype=np.float64).reshape(len(REDUCED)),
            rounding=float(block["rounding"]),
            batches=_rows(block["batches"]),
            batch_size=int(facts["batch_size"]),
            left_out=None if items is None else _rows(block["left_out"]),
            items=None if items is None else np.array(items, dtype=np.int64),
            sampled_fraction=float(facts["sampled_fraction"]),
        )
        for name, block in facts["blocks"].items()
    }


def _rows(stored: Any) -> Any:
    return np.array(stored, dtype=np.float64).reshape(-1, len(REDUCED))


def _batch_sums(problem: Problem, size: int, seed: int) -> list[Sums]:
    count = min(_BATCHES, max(_LEAST_BATCHES, _PASSES * problem.num_samples // size))
    generator = generator_for(seed, "gradient/mini-batches")
    return [sums_of(mean_gradient(problem, drawn)) for drawn in drawn_batches(problem, count, size, generator)]


def _reduced_block(block: Block, found: Gradients, batches: Sequence[Sums]) -> dict[str, Any]:
    total = _reduced(block, found.sums)
    rounding = math.fsum(found.rounding[name] for name in block.parameters)
    return {
        "total": total,
        "rounding": rounding / total[0] if total[0] > 0.0 else 0.0,
        "left_out": [_reduced(block, sums) for sums in found.left_out],
        "batches": [_reduced(block, sums) for sums in batches],
    }


def _reduced(block: Block, sums: Sums) -> list[float]:
    """Return `REDUCED` of a block; a gradient of zero has no entropy, and is told by its norms."""
    absolute, square, logarithmic = (math.fsum(sums[name][part] for name in block.parameters) for part in range(3))
    if absolute == 0.0:
        return [0.0, 0.0, 0.0]
    entropy = math.log(absolute) - logarithmic / absolute
    return [absolute, square, min(max(entropy, 0.0), math.log(block.size))]
