"""`Hessian = GGN + residual`: both matrices multiplied with the same vectors, block by block.

The differences Hv − Gv are those of single products, so what H and G have in common cancels before anything is
estimated.  A block that takes no more products than it may is formed whole, and its numbers are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.matrices.kinds import GaussNewton
from hessent.curvature.problem import Problem
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.settings import SolverSettings
from hessent.pipeline.observer import Observer
from hessent.spectra.split import MOMENTS, BlockSplit, Float64Array

DEFAULT_PROBES = 12
_EXACT_OVER = 4  # a block is formed whole where that takes no more than so many times the products of its probes
_COLUMNS_AT_ONCE = 64
_ROUNDINGS = 2  # in the last place; where nothing is left, as in the layers of a ReLU net, ‖H − G‖ shows 1 to 2.5
_VECTORS = 5  # v, Hv, Gv and what products are summed in, at a time

Columns = tuple[Block, Tensor]


def is_whole(size: int, probes: int) -> bool:
    """Whether a block of `size` parameters is formed whole."""
    return size <= _EXACT_OVER * probes


def split_matvecs(size: int, probes: int) -> int:
    """Return the products that the split of a block takes, those of both matrices counted."""
    return 2 * (size if is_whole(size, probes) else probes)


def planned_split(
    problem: Problem, blocks: Sequence[Block], probes: int | None, settings: SolverSettings, observer: Observer
) -> Callable[[Mapping[str, float]], tuple[BlockSplit, ...]] | None:
    """Return what splits the Hessian, told of the noise of its products; None where no probes are asked for."""
    if probes is None:
        return None

    def split(noise_floor: Mapping[str, float]) -> tuple[BlockSplit, ...]:
        observer.started("Hessian = GGN + residual", sum(split_matvecs(block.size, probes) for block in blocks))
        return split_hessian(
            problem,
            blocks,
            probes=probes,
            seed=settings.seed,
            noise_floor=noise_floor,
            memory=settings.basis_memory,
            advanced=observer.advanced,
        )

    return split


def split_hessian(
    problem: Problem,
    blocks: Sequence[Block],
    *,
    probes: int,
    seed: int,
    noise_floor: Mapping[str, float],
    memory: int,
    advanced: Callable[[str, int], None] = lambda block, matvecs: None,
) -> tuple[BlockSplit, ...]:
    """Multiply both matrices with the same vectors.

    Parameters
    ----------
    problem : Problem
        With its loss measured; its curvature is the Hessian.
    blocks : sequence of Block
        In the model's order.
    probes : int
        Gaussian vectors per block that is not formed whole.
    seed : int
        Of the vectors.
    noise_floor : mapping of str to float
        Root mean square eigenvalue of the products' noise, by block.
    memory : int
        Bytes for vectors.
    advanced : callable
        Told of products.

    Returns
    -------
    tuple of BlockSplit
        One per block.
    """
    engines = [
        HessianEngine(which, memory=0, engine="retained")  # one graph at a time, whose products serve all blocks
        for which in (problem, problem.with_curvature(GaussNewton()))
    ]
    rows: dict[str, list[Tensor]] = {block.name: [] for block in blocks}
    for requests in _in_passes(_columns(blocks, probes, seed), memory):
        placed = [(block, columns.to(problem.device)) for block, columns in requests]
        found = [[product.total for product in engine.products(placed)] for engine in engines]
        for (block, V), HV, GV in zip(placed, *found, strict=True):
            rows[block.name].append(_moments(V, HV, GV).cpu())
            advanced(block.name, 2 * V.shape[1])
    split = []
    for block in blocks:
        exact = is_whole(block.size, probes)
        moments = _told(torch.cat(rows[block.name]), whole=exact)
        noise = _noise(block, moments, noise_floor.get(block.name, 0.0), torch.finfo(problem.dtype).eps)
        split.append(BlockSplit(block.name, block.size, exact, noise, moments))
    return tuple(split)


def _noise(block: Block, moments: Float64Array, floor: float, eps: float) -> float:
    """Frobenius norm of what rounding adds to H − G: that of repeated products, or some units in the last place.

    Repeated, products of one matrix have part of their rounding in common, which those of two matrices have not.
    """
    norms = np.sqrt(np.mean(moments[:, 3:5] ** 2, axis=0))
    return max(math.sqrt(2 * block.size) * floor, _ROUNDINGS * eps * float(norms.max()))


def as_facts(split: Sequence[BlockSplit]) -> list[dict[str, Any]]:
    """Return the split as JSON values."""
    return [{**vars(block), "moments": block.moments.tolist()} for block in split]


def split_from(facts: Sequence[Mapping[str, Any]]) -> tuple[BlockSplit, ...]:
    """Return the split from what `as_facts` returned.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is something else.
    """
    return tuple(
        BlockSplit(
            name=str(fact["name"]),
            size=int(fact["size"]),
            exact=bool(fact["exact"]),
            noise=float(fact["noise"]),
            moments=np.array(fact["moments"], dtype=np.float64).reshape(-1, len(MOMENTS)),
        )
        for fact in facts
    )


def _columns(blocks: Sequence[Block], probes: int, seed: int) -> Iterator[Columns]:
    """Yield every vector of every block, or runs of unit vectors of those that are formed whole."""
    for block in blocks:
        if is_whole(block.size, probes):
            units = torch.eye(block.size, dtype=torch.float64)
            yield from ((block, part.T) for part in torch.split(units, _COLUMNS_AT_ONCE))
            continue
        for index in range(probes):
            yield block, gaussian_vectors(block.size, 1, seed=seed, key=f"{block.name}/split", first=index).T


def _in_passes(columns: Iterator[Columns], memory: int) -> Iterator[list[Columns]]:
    """Gather what is multiplied in one pass over the data: as much as fits in memory, one piece at least."""
    requests: list[Columns] = []
    room = memory
    for block, V in columns:
        taken = _VECTORS * 8 * V.numel()
        if requests and taken > room:
            yield requests
            requests, room = [], memory
        requests.append((block, V))
        room -= taken
    if requests:
        yield requests


def _moments(V: Tensor, HV: Tensor, GV: Tensor) -> Tensor:
    """Return the moments of every column, shape (columns, 7)."""
    H, G = HV.double(), GV.double()
    R = H - G
    norms = [matrix.norm(dim=0) for matrix in (H, G, R)]
    inner = (G * R).sum(0)
    product = norms[1] * norms[2]
    cosine = torch.where(product > 0, inner / torch.where(product > 0, product, 1.0), torch.zeros_like(inner))
    traces = [(V * matrix).sum(0) for matrix in (H, G, R)]
    return torch.stack([*traces, *norms, cosine.clamp(-1.0, 1.0)], dim=1)


def _told(rows: Tensor, *, whole: bool) -> Float64Array:
    """Return the rows as they are, or, of all columns of the matrices, one row of what belongs to the matrices."""
    if not whole:
        return rows.numpy()
    norms = rows[:, 3:6].norm(dim=0)
    inner = (rows[:, 6] * rows[:, 4] * rows[:, 5]).sum()
    product = norms[1] * norms[2]
    cosine = (inner / product).clamp(-1.0, 1.0) if product > 0 else torch.zeros(())
    return torch.cat([rows[:, :3].sum(0), norms, cosine.double()[None]])[None].numpy()
