"""From a problem to a spectrum: check the operator, take a first look at every block, then refine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from hessent.curvature.blocks import FULL, Block, resolve_blocks
from hessent.curvature.containers import num_samples
from hessent.curvature.engine import HessianEngine
from hessent.curvature.problem import Problem
from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK, OperatorCheck, require_sound
from hessent.eigensolver.block_solver import BlockSolver
from hessent.eigensolver.overflow import Overflow
from hessent.eigensolver.settings import joint_probes
from hessent.pipeline.accuracy import Accuracy, sampled_fraction
from hessent.pipeline.block_solvers import BlockSolvers
from hessent.pipeline.block_work import BlockWork
from hessent.pipeline.gradient_facts import GradientVectors, find_gradients, gradient_vectors, gradients_from
from hessent.pipeline.observer import Observer
from hessent.pipeline.operator_facts import find_out, from_facts
from hessent.pipeline.parts import Part, part_facts
from hessent.pipeline.residual_split import planned_split
from hessent.pipeline.served_products import ServedProducts, spare_thread
from hessent.pipeline.settled import Settled
from hessent.pipeline.units import Units
from hessent.pipeline.versions import library_versions
from hessent.spectra.gradients import BlockGradient
from hessent.spectra.model import BlockSpectrum, Spectrum, TensorProbe
from hessent.spectra.provenance import CheckpointInfo, DataInfo, LossInfo
from hessent.spectra.split import BlockSplit


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
    accuracy : Accuracy
        Method, tolerances, budgets, and whether the error of the data subset is told.
    seed : int
        Seed of all start vectors.
    vector_memory : int
        Bytes for the vectors of all blocks.
    graph_memory : int
        Bytes for gradient graphs.
    engine : str
        Engine name, or `auto`.
    verify : bool
        Whether a failed check ends the run.
    overflow : Overflow, optional
        What the vectors of all blocks may take beyond `vector_memory`.
    part : Part, optional
        The part of the blocks that is measured; the check is that of all.
    split_probes : int, optional
        Probes per block of the split of the Hessian, that of all blocks; by default there is none.
    mini_batch : int, optional
        Samples of the training's mini-batches, whose gradients are looked at.

    Attributes
    ----------
    blocks : tuple of Block
        What is measured, in order.
    check : OperatorCheck
        Filled by `run`.
    complete : bool
        Whether every block was worked on to its end.
    products : ServedProducts
        Where solvers get their products from.
    solvers : BlockSolvers
        Where solvers come from.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        specifications: Sequence[str],
        full: bool,
        accuracy: Accuracy,
        seed: int,
        vector_memory: int,
        graph_memory: int,
        engine: str = "auto",
        verify: bool = True,
        overflow: Overflow | None = None,
        part: Part | None = None,
        split_probes: int | None = None,
        mini_batch: int | None = None,
    ) -> None:
        accuracy.require_sound()
        self.problem = problem
        self.blocks = resolve_blocks(problem.model, problem.parameters, specifications, full=full)
        settings = accuracy.solver_settings(seed=seed, basis_memory=vector_memory)
        self.settings = replace(settings, overflow=overflow or Overflow())
        self.verify = verify
        self.complete = False
        self.memory = vector_memory + graph_memory
        self.threads = torch.get_num_threads()
        self.check = OperatorCheck()
        self.tensor_probe: TensorProbe | None = None
        self.split_probes = split_probes
        self.split: tuple[BlockSplit, ...] = ()
        problem.measure_loss()
        self.engine = HessianEngine(problem, memory=graph_memory, engine=engine, num_groups=accuracy.num_groups)
        self.whole = Block(FULL, tuple(problem.parameters), problem.num_params)
        self.products = ServedProducts(self.engine)
        self.part = part
        self.units = Units()
        self._work: BlockWork | None = None
        self.mini_batch = mini_batch
        self.gradients: dict[str, BlockGradient] = {}
        self._gradient_vectors: GradientVectors | None = None
        self.sampled_fraction = sampled_fraction(problem.num_samples, accuracy.population)
        self.solvers = BlockSolvers(
            problem,
            self.blocks,
            self.settings,
            self.engine,
            sampled_fraction=self.sampled_fraction,
            unfinished=lambda: [block for block in self.blocks if block.name not in self.units.finished],
        )

    def run(
        self,
        observer: Observer,
        *,
        max_time: float | None = None,
        units: Units | None = None,
        settled: Settled | None = None,
    ) -> None:
        """Measure all blocks: operator check, first look, refinement in order of need.

        Parameters
        ----------
        observer : Observer
            Told of progress; may stop the work.
        max_time : float, optional
            Seconds after which no further pass is begun.
        units : Units, optional
            Where finished and unfinished blocks are kept; by default in memory.
        settled : Settled, optional
            What an earlier run has settled; by default it is found out by timing.

        Raises
        ------
        SelfCheckError
            If the operator is not what it should be, and `verify` is set.
        NonFiniteError
            If a product is not finite.
        SettledOtherwiseError
            If another process that shares the units has settled other choices in the meantime.
        """
        deadline = None if max_time is None else time.monotonic() + max_time

        def should_stop() -> bool:
            return observer.should_stop() or (deadline is not None and time.monotonic() >= deadline)

        before = torch.get_num_threads()
        try:
            self.units = units or self.units
            self.engine.notify = observer.noted
            self.choose_engine(settled)
            with spare_thread(self.problem.device, self.threads) as workers:
                self._measure(observer, should_stop, workers)
        finally:
            torch.set_num_threads(before)

    def choose_engine(self, settled: Settled | None = None) -> None:
        """Take over engine and threads, or settle them by timing, for the products that are planned."""
        if settled is not None:
            torch.set_num_threads(settled.threads)
            self.engine.adopt(settled.engine, settled.engine_why)
            self.threads = settled.threads
            return
        planned = self.planned_matvecs()
        parts = [block for block in self.blocks if block.name != FULL]
        work = [(self.whole, planned.get(FULL, 0))]
        if parts:
            # The one in the middle costs about what they all cost on average: products get cheaper to the outputs.
            middle = parts[len(parts) // 2]
            work.append((middle, sum(planned[block.name] for block in parts)))
        together = joint_probes(self.settings, self.whole.size, PRODUCTS_PER_BLOCK)
        self.engine.choose(work, together=together)
        self.threads = torch.get_num_threads()

    def settled(self) -> Settled:
        """Return what this run computes with."""
        return Settled(
            memory=self.memory,
            batch_size=num_samples(next(self.problem.micro_batches())[0]),
            threads=self.threads,
            engine=self.engine.engine,
            engine_why=self.engine.why,
        )

    def planned_matvecs(self) -> dict[str, int]:
        """Return the products planned with every block, in the model's order."""
        return {block.name: self.solver_for(block).planned_matvecs() for block in self.blocks}

    def _measure(self, observer: Observer, should_stop: Callable[[], bool], workers: Executor | None) -> None:
        if self.engine.division.note is not None:
            observer.noted(self.engine.division.note)
        observer.started("operator check", 0)
        split = planned_split(self.problem, self.blocks, self.split_probes, self.settings, observer)
        seed = self.settings.seed
        gradients = None if self.problem.metric is not None else self._find_gradients
        facts = self.units.settle(
            self.settled(), lambda: find_out(self.engine, self.blocks, seed, split, gradients)
        )
        self.check, self.tensor_probe, self.split = from_facts(facts)
        self.gradients = gradients_from(facts.get("gradients"))
        if self.gradients and self._gradient_vectors is None and not self.settings.only_trace:
            # Another process has settled the facts, and does not tell the gradient itself.
            self._gradient_vectors = gradient_vectors(self.engine)
        if self.verify:
            require_sound(self.check, self.problem.dtype)
        self.solvers.direct.should_stop = should_stop
        names = None if self.part is None else self.part.share(self.planned_matvecs())
        self._work = BlockWork(
            {self.solver_for(block): block for block in self.blocks if names is None or block.name in names},
            self.products,
            self.units,
            observer,
            should_stop=should_stop,
            workers=workers,
        )
        self.complete = self._work.run()

    def _find_gradients(self) -> dict[str, Any]:
        facts, self._gradient_vectors = find_gradients(
            self.engine,
            self.blocks,
            batch_size=self.mini_batch,
            seed=self.settings.seed,
            sampled_fraction=self.sampled_fraction,
        )
        return facts

    def spectra(self) -> tuple[BlockSpectrum, ...]:
        """Return what is known so far, in the model's order; a block without an estimate is left out."""
        return () if self._work is None else self._work.spectra()

    def spectrum(self, checkpoint: CheckpointInfo, data: DataInfo, settings: Mapping[str, Any]) -> Spectrum:
        """Return what is known so far, with its provenance.

        Parameters
        ----------
        checkpoint : CheckpointInfo
            Which weights were measured.
        data : DataInfo
            On which samples.
        settings : mapping
            What was asked for; how the products were computed is added.
        """
        return Spectrum(
            checkpoint=checkpoint,
            data=data,
            loss=LossInfo(self.problem.loss.name, self.problem.loss_value),
            curvature=self.problem.curvature.name,
            seed=self.settings.seed,
            # A part is never the whole, even when it is done.
            complete=self.complete and self.part is None,
            settings={**settings, **self.facts(), **part_facts(self.part, self.blocks, done=self.complete)},
            versions=library_versions(),
            checks=self.check.as_dict(),
            blocks=self.spectra(),
            tensor_probe=self.tensor_probe,
            split=self.split,
        )

    def facts(self) -> dict[str, Any]:
        """Return how the products were computed, for the file."""
        return {
            "engine": self.engine.engine,
            "engine_why": self.engine.why,
            "graphs_kept": self.engine.keeps_graphs,
            "threads": self.threads,
            "graph_bytes": self.engine.graph_bytes,
            "device": self.problem.device.type,
            "dtype": str(self.problem.dtype).removeprefix("torch."),
            **({} if self.problem.metric is None else self.problem.metric.as_settings()),
        }

    def solver_for(self, block: Block) -> BlockSolver:
        """Return a new solver of one of the blocks, with what the check found out about its products."""
        gradient, vectors = self.gradients.get(block.name), self._gradient_vectors
        vector = None if vectors is None else partial(vectors.of, block)
        return self.solvers.solver_for(block, self.check, gradient, vector)
