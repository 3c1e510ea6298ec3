"""From a problem to a spectrum: check the operator, take a first look at every block, then refine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hessent.curvature.blocks import FULL, Block, resolve_blocks
from hessent.curvature.containers import HalvedBatches
from hessent.curvature.engine import HessianEngine
from hessent.curvature.operator import Product
from hessent.curvature.problem import Problem
from hessent.curvature.selfcheck import OperatorCheck, check_derivative, measure_noise, require_sound
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.probes import generator_for
from hessent.eigensolver.scheduler import run_solvers, widest_first
from hessent.eigensolver.settings import SolverSettings
from hessent.errors import UsageError
from hessent.spectra.model import BlockSpectrum, TensorProbe


class Observer(Protocol):
    """Who watches a measurement: the command line's progress display, or nobody."""

    def noted(self, message: str) -> None:
        """Tell what was assumed, stripped or chosen: one sentence."""

    def started(self, stage: str, total: int) -> None:
        """Tell that a stage of `total` products begins."""

    def advanced(self, block: str, matvecs: int) -> None:
        """Tell that products with a block were done."""

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Show the first estimates of all blocks."""

    def should_stop(self) -> bool:
        """Whether the user wants the work to end now."""


class Silent:
    """An observer that shows nothing and never stops."""

    def noted(self, message: str) -> None:
        """Ignore."""

    def started(self, stage: str, total: int) -> None:
        """Ignore."""

    def advanced(self, block: str, matvecs: int) -> None:
        """Ignore."""

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Ignore."""

    def should_stop(self) -> bool:
        """Return False."""
        return False


class Measurement:
    """The spectra of a problem's blocks.

    Parameters
    ----------
    problem : Problem
        Model, loss and data.
    specifications : sequence of str
        Block specifications.
    full : bool
        Whether the whole matrix is measured too.
    settings : SolverSettings
        Tolerances and budgets; `basis_memory` is used as given.
    graph_memory : int
        Bytes for gradient graphs.
    engine : str
        Engine name, or `auto`.
    verify : bool
        Whether a failed check ends the run.
    num_groups : int
        Groups of the data whose contributions are kept, for the error of the data subset; below 2 none are.
    population : int, optional
        Size of the finite population the samples were drawn from; unlimited where it is not given.

    Attributes
    ----------
    blocks : tuple of Block
        What is measured, in order.
    check : OperatorCheck
        Filled by `run`.
    complete : bool
        Whether every block was worked on to its end.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        specifications: Sequence[str],
        full: bool,
        settings: SolverSettings,
        graph_memory: int,
        engine: str = "auto",
        verify: bool = True,
        num_groups: int = 1,
        population: int | None = None,
    ) -> None:
        self.problem = problem
        self.blocks = resolve_blocks(problem.model, problem.parameters, specifications, full=full)
        self.settings = settings
        self.verify = verify
        self.complete = False
        self.threads = torch.get_num_threads()
        self.check = OperatorCheck()
        self.tensor_probe: TensorProbe | None = None
        _refuse_large_exact(self.blocks, settings)
        problem.measure_loss()
        self.sampled_fraction = _sampled_fraction(problem.num_samples, population)
        self.engine = HessianEngine(problem, memory=graph_memory, engine=engine, num_groups=num_groups)
        self.whole = Block(FULL, tuple(problem.parameters), problem.num_params)
        self._solvers: list[BlockSolver] = []

    def run(self, observer: Observer, *, max_time: float | None = None) -> None:
        """Measure all blocks: operator check, first look, refinement in order of need.

        Parameters
        ----------
        observer : Observer
            Told of progress; may stop the work.
        max_time : float, optional
            Seconds after which no further pass is begun.

        Raises
        ------
        SelfCheckError
            If the operator is not what it should be, and `verify` is set.
        NonFiniteError
            If a product is not finite.
        """
        deadline = None if max_time is None else time.monotonic() + max_time

        def should_stop() -> bool:
            return observer.should_stop() or (deadline is not None and time.monotonic() >= deadline)

        before = torch.get_num_threads()
        try:
            self.engine.choose(self.whole)
            self.threads = torch.get_num_threads()
            self._measure(observer, should_stop)
        finally:
            torch.set_num_threads(before)

    def _measure(self, observer: Observer, should_stop: Callable[[], bool]) -> None:
        self._check_operator(observer)
        self.tensor_probe = self._probe_tensors()
        self._solvers = [self._solver(block) for block in self.blocks]
        by_solver = dict(zip(self._solvers, self.blocks, strict=True))

        def multiply(requests: Sequence[tuple[BlockSolver, Tensor]]) -> list[Product]:
            return self.engine.products([(by_solver[solver], columns) for solver, columns in requests])

        def advanced(solver: BlockSolver, matvecs: int) -> None:
            observer.advanced(solver.name, matvecs)

        def stage(solvers: Sequence[BlockSolver], what: Callable[[BlockSolver], Any]) -> bool:
            together = not self.engine.keeps_graphs
            return run_solvers(
                solvers, what, multiply, together=together, should_stop=should_stop, progress=advanced
            )

        observer.started("first look", sum(min(s.planned_matvecs(), 100) for s in self._solvers))
        # Cheap blocks first: the table fills while the whole matrix is still being looked at.
        finished = stage(sorted(self._solvers, key=lambda s: s.size), BlockSolver.first_look)
        if all(solver.spectrum is not None for solver in self._solvers):
            observer.first_look(self.spectra())
        if finished:
            observer.started("refining", sum(s.planned_matvecs() for s in self._solvers if not _done(s)))
            self.complete = stage(widest_first(self._solvers), BlockSolver.finish)
        if not self.complete:
            for solver in self._solvers:
                solver.stop("stopped early")

    def spectra(self) -> tuple[BlockSpectrum, ...]:
        """Return what is known so far, in the model's order; a block without an estimate is left out."""
        return tuple(solver.spectrum for solver in self._solvers if solver.spectrum is not None)

    def facts(self) -> dict[str, Any]:
        """Return how the products were computed, for the file."""
        return {
            "engine": self.engine.engine,
            "graphs_kept": self.engine.keeps_graphs,
            "threads": self.threads,
            "graph_bytes": self.engine.graph_bytes,
            "device": self.problem.device.type,
            "dtype": str(self.problem.dtype).removeprefix("torch."),
        }

    def _check_operator(self, observer: Observer) -> None:
        observer.started("operator check", 0)
        recut = HessianEngine(
            self.problem.with_batches(HalvedBatches(self.problem.batches)), memory=0, engine="retained"
        )
        generator = generator_for(self.settings.seed, "check")
        self.check = measure_noise(self.engine, recut, self.blocks, generator)
        self.check.derivative = check_derivative(self.problem, generator)
        if self.verify:
            require_sound(self.check, self.problem.dtype)

    def _probe_tensors(self) -> TensorProbe:
        """One sign vector over all parameters, one product, reduced per tensor."""
        generator = generator_for(self.settings.seed, "tensor probe")
        signs = torch.randint(0, 2, (self.whole.size, 1), generator=generator).double() * 2 - 1
        signs = signs.to(self.problem.device)
        product = self.engine.products([(self.whole, signs)])[0].total
        sizes = [parameter.numel() for parameter in self.problem.parameters.values()]
        parts = torch.split((signs * product)[:, 0].cpu(), sizes)
        return TensorProbe(
            names=tuple(self.problem.parameters),
            sizes=np.array(sizes, dtype=np.int64),
            sums=np.array([float(part.sum()) for part in parts]),
            gaps=np.array([_gap(part.numpy()) for part in parts]),
        )

    def _solver(self, block: Block) -> BlockSolver:
        return BlockSolver(
            block.name,
            block.parameters,
            block.size,
            self.settings,
            dtype=self.problem.dtype,
            device=self.problem.device,
            noise=self.check.noise[block.name],
            noise_floor=self.check.noise_floor[block.name],
            spent=self.check.matvecs[block.name],
            group_items=self.engine.group_items,
            sampled_fraction=self.sampled_fraction,
        )


def _done(solver: BlockSolver) -> bool:
    return solver.spectrum is not None and solver.spectrum.converged


def _gap(values: Any) -> float:
    """Log n + Σ q log q with q ∝ abs(values), in nats; zero for a tensor without curvature."""
    magnitudes = np.abs(values)
    total = magnitudes.sum()
    if total == 0.0:
        return 0.0
    shares = magnitudes[magnitudes > 0] / total
    return float(np.log(len(magnitudes)) + (shares * np.log(shares)).sum())


def _sampled_fraction(samples: int, population: int | None) -> float:
    """Share of the population that is in the sample; 0 for an unlimited one."""
    if population is None:
        return 0.0
    if population < samples:
        raise UsageError(
            f"the population is {population:,}, but {samples:,} samples of it are used",
            where="--population",
            expected="the number of samples that could have been drawn, those used included",
            fix=f"--population {samples} if these are all there are",
        )
    return samples / population


def _refuse_large_exact(blocks: Sequence[Block], settings: SolverSettings) -> None:
    if settings.method != "exact":
        return
    room = settings.basis_memory // 24  # the matrix, its symmetric part and the eigensolver's copy, 8 bytes each
    problems = [f"'{block.name}' has {block.size:,} parameters" for block in blocks if block.size**2 > room]
    problems += [
        f"'{block.name}' needs {block.size:,} products, --max-matvecs allows {settings.max_matvecs:,}"
        for block in blocks
        if settings.max_matvecs is not None and block.size > settings.max_matvecs
    ]
    if problems:
        raise UsageError(
            "some blocks cannot be formed exactly",
            where="--method exact",
            problems=problems,
            fix="--method auto, a larger --memory, or --blocks and --no-full to leave them out",
        )


def library_versions() -> Mapping[str, str]:
    """Return the versions that can change a number."""
    names = ("hessent", "torch", "numpy", "scipy", "h5py", "safetensors")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
