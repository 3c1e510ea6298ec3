"""The solvers of a run's blocks: how each is measured, and what it may take of the room for vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.problem import Problem
from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK, OperatorCheck
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.settings import SolverSettings, is_exact
from hessent.pipeline.accuracy import refuse_large_exact
from hessent.pipeline.direct_blocks import DirectBlocks
from hessent.pipeline.vector_places import PlannedVectors, SpillNotes, planned_vectors
from hessent.spectra.gradients import BlockGradient


class BlockSolvers:
    """Makes the solvers of all blocks.

    Parameters
    ----------
    problem : Problem
        Loss measured.
    blocks : sequence of Block
        All of the run.
    settings : SolverSettings
        Of all blocks together.
    engine : HessianEngine
        Knows the groups of the data, and whom to tell where vectors do not fit.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.
    unfinished : callable
        Returns the blocks that are left to do.

    Attributes
    ----------
    direct : DirectBlocks
        Those that need no products.

    Raises
    ------
    UsageError
        If a block is too large to be exact and was asked to be.
    """

    def __init__(
        self,
        problem: Problem,
        blocks: Sequence[Block],
        settings: SolverSettings,
        engine: HessianEngine,
        *,
        sampled_fraction: float,
        unfinished: Callable[[], Sequence[Block]],
    ) -> None:
        self._problem, self._blocks, self._settings, self._engine = problem, blocks, settings, engine
        self._sampled_fraction = sampled_fraction
        self._unfinished = unfinished
        self.direct = DirectBlocks(problem, engine.division, settings, sampled_fraction=sampled_fraction)
        refuse_large_exact([block for block in blocks if not self.direct.takes(block)], settings)
        self._spills = SpillNotes(
            {block.name: self.planned_vectors(block) for block in blocks if not self._is_exact(block)},
            settings.overflow.folder,
            lambda note: engine.notify(note),
        )

    def solver_for(
        self,
        block: Block,
        check: OperatorCheck,
        gradient: BlockGradient | None = None,
        gradient_vector: Callable[[], Tensor] | None = None,
    ) -> BlockSolver:
        """Return a new solver of one of the blocks, with what was found out about its products and gradient."""
        direct = self.direct.takes(block)
        return BlockSolver(
            block.name,
            block.parameters,
            block.size,
            self.settings_for(block),
            dtype=self._problem.dtype,
            device=self._problem.device,
            noise=check.noise.get(block.name, 0.0),
            noise_floor=check.noise_floor.get(block.name, 0.0),
            spent=PRODUCTS_PER_BLOCK,
            group_items=self._engine.group_items,
            sampled_fraction=self._sampled_fraction,
            semidefinite=self._problem.curvature.semidefinite,
            gradient=gradient,
            gradient_vector=gradient_vector,
            formed=partial(self.direct.spectrum, block, wanted=self._unfinished) if direct else None,
        )

    def settings_for(self, block: Block) -> SolverSettings:
        """Settings of one block; of one that is sampled, with what it may take of the room for vectors."""
        if self._is_exact(block):
            return self._settings
        share = self._share(block)
        spilled = partial(self._spills.spilled, block.name)
        return replace(share, overflow=replace(share.overflow, spilled=spilled))

    def planned_vectors(self, block: Block) -> PlannedVectors:
        """Return where the vectors of a sampled block go, as far as products are planned."""
        itemsize = self._problem.dtype.itemsize
        return planned_vectors(self._share(block), block.size, itemsize, PRODUCTS_PER_BLOCK)

    def _is_exact(self, block: Block) -> bool:
        return self.direct.takes(block) or is_exact(self._settings, block.size, PRODUCTS_PER_BLOCK)

    def _share(self, block: Block) -> SolverSettings:
        """Blocks that are sampled keep their vectors at the same time, each in its share of the room for them."""
        part, whole = block.size, sum(other.size for other in self._blocks if not self._is_exact(other))
        return replace(
            self._settings,
            basis_memory=self._settings.basis_memory * part // whole,
            overflow=self._settings.overflow.share(part, whole),
        )
