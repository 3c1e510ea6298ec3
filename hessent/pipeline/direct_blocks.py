"""Blocks of the empirical Fisher matrix that are formed from the gradients of single samples, without products.

All of them come from the same passes over the data, when the first is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hessent.curvature.blocks import Block
from hessent.curvature.groups import Division
from hessent.curvature.matrices.kinds import EmpiricalFisher
from hessent.curvature.problem import Problem
from hessent.curvature.second_moments import SecondMoment, SecondMoments
from hessent.eigensolver.formed_moment import spectrum_of_moment
from hessent.eigensolver.gradient_along import GradientVector
from hessent.eigensolver.settings import SolverSettings
from hessent.spectra.model import BlockSpectrum

_MOST_NUMBERS = 1 << 27  # eigenvalues of a block, those without each data group included: 1 GiB


class PassStoppedError(Exception):
    """The work was to stop in the middle of a pass over the data."""


class DirectBlocks:
    """Which blocks are formed directly, and what comes of it.

    Parameters
    ----------
    problem : Problem
        Loss measured.
    division : Division
        Groups of the data.
    settings : SolverSettings
        Method, memory, seed.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.

    Attributes
    ----------
    should_stop : callable
        Asked after every sample.
    """

    def __init__(
        self, problem: Problem, division: Division, settings: SolverSettings, *, sampled_fraction: float
    ) -> None:
        self._problem, self._division, self._settings = problem, division, settings
        self._sampled_fraction = sampled_fraction
        self._moments: dict[Block, SecondMoment] = {}
        self.should_stop: Callable[[], bool] = lambda: False

    def takes(self, block: Block) -> bool:
        """Whether a block is formed directly: of an empirical Fisher matrix whose items are few whole samples.

        Beyond as many as an exact block has parameters, dense eigenvalue problems cost more than sampling.
        """
        problem, settings = self._problem, self._settings
        each = block.size * (2 + len(self._division.ends))
        return (
            isinstance(problem.curvature, EmpiricalFisher)
            and settings.method in ("auto", "exact")
            and not settings.only_trace
            and settings.num_steps is None
            and problem.num_items == problem.num_samples <= settings.exact_limit
            and each <= _MOST_NUMBERS
        )

    def matrix_bytes(self, block: Block) -> int:
        """Bytes that a block's matrix takes in its smaller form, until its eigenvalues are found."""
        count = self._problem.num_samples
        if block.size > count:
            return 8 * count**2
        return 8 * block.size**2 * (1 + len(self._division.ends))

    def spectrum(
        self,
        block: Block,
        empty: BlockSpectrum,
        gradient_vector: GradientVector | None,
        *,
        wanted: Callable[[], Sequence[Block]],
    ) -> BlockSpectrum:
        """Return the spectrum of a block.

        Parameters
        ----------
        block : Block
            One that `takes` says yes to.
        empty : BlockSpectrum
            Name, size and everything else that does not depend on the matrix.
        gradient_vector : callable or None
            Returns the gradient by the block's parameters, shape (n,).
        wanted : callable
            Returns the blocks, this one among them, that are worth forming in the same passes.

        Raises
        ------
        PassStoppedError
            If the work was to stop meanwhile.
        """
        if block not in self._moments:
            together = [other for other in wanted() if self.takes(other) and other not in self._moments]
            moments = SecondMoments(
                self._problem, together, self._division, memory=self._settings.basis_memory, poll=self._poll
            )
            self._moments |= moments.compute()
        return spectrum_of_moment(
            empty,
            self._moments.pop(block),
            self._division.items,
            count=self._problem.num_samples,
            sampled_fraction=self._sampled_fraction,
            seed=self._settings.seed,
            gradient_vector=gradient_vector,
        )

    def _poll(self) -> None:
        if self.should_stop():
            raise PassStoppedError
