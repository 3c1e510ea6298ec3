"""The checkpoint at which steps are analysed: its loss and gradient in float64, and products with its Hessian.

Steps near a minimum lower the loss by little: g·d and L(θ) − L(θ + d) are differences that float32 does not hold,
so gradients and losses are taken from a float64 copy of the model.  Products with H keep the precision asked for;
how far that spoils them is measured by one product, repeated in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property

import torch
from torch import Tensor

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.containers import HalvedBatches
from hessent.curvature.engine import HessianEngine
from hessent.curvature.matrices.kinds import Fisher
from hessent.curvature.operator import SymmetricOperator
from hessent.curvature.problem import Problem
from hessent.curvature.selfcheck import OperatorCheck, check_derivative, measure_noise, require_sound
from hessent.eigensolver.probes import generator_for
from hessent.errors import ComputationError, NonFiniteError
from hessent.pipeline.bound.losses import moved
from hessent.pipeline.mini_batches import drawn_samples, gradient_of, mean_gradient
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared

ByParameter = Mapping[str, Tensor]
_COLUMNS = 32  # at once, between two looks at whether to stop
_SEED_OF_BATCHES = 0x57E9  # so that mini-batches are not the order of the samples


class StoppedError(Exception):
    """The observer asked for the end."""


class StepSituation:
    """A problem prepared for steps.

    Parameters
    ----------
    prepared : Prepared
        Model and data.
    observer : Observer
        Told of progress; may stop the work, which raises StoppedError.

    Attributes
    ----------
    problem : Problem
        As prepared, its loss measured.
    engine : HessianEngine
        Of its Hessian.
    operator : SymmetricOperator
        The whole Hessian.
    loss_value : float
        L(θ), in float64.
    gradient : dict of str to Tensor
        By parameter, in float64.

    Raises
    ------
    ComputationError
        If the gradient is exactly zero.
    """

    def __init__(self, prepared: Prepared, observer: Observer) -> None:
        self.prepared, self.problem, self._observer = prepared, prepared.problem, observer
        self.problem.measure_loss()
        self.engine = HessianEngine(self.problem, memory=prepared.graph_memory, notify=observer.noted)
        self.whole = Block(FULL, tuple(self.problem.parameters), self.problem.num_params)
        self.operator: SymmetricOperator = self.engine.operator(self.whole)
        stream = prepared.stream
        self._precise = Problem(
            self.problem.model,
            self.problem.loss,
            stream.with_batch_size(max(stream.batch_size // 2, 1)),  # numbers are twice as wide
            device=self.problem.device,
            dtype=torch.float64,
        )
        self.loss_value = self._precise.measure_loss()
        self.gradient = mean_gradient(self._precise)
        self.gradient_norm = float(self.flat(self.gradient).norm())
        if self.gradient_norm == 0.0:
            raise ComputationError(
                "the gradient of the loss is exactly zero: no step has a direction",
                where=prepared.checkpoint.path,
                expected="a loss that the weights still have an influence on",
                fix="other samples (--data, --samples), or --dtype float64 where outputs have saturated",
            )

    @property
    def seed(self) -> int:
        """Seed of all that is random."""
        return self.prepared.seed

    def flat(self, tensors: ByParameter) -> Tensor:
        """Return one float64 vector (n,), in the model's order."""
        device = self.problem.device
        return torch.cat([tensors[name].to(device, torch.float64).reshape(-1) for name in self.problem.parameters])

    def by_parameter(self, vector: Tensor) -> dict[str, Tensor]:
        """Undo `flat`."""
        sizes = [value.numel() for value in self.problem.parameters.values()]
        pieces = zip(self.problem.parameters.items(), torch.split(vector, sizes), strict=True)
        return {name: piece.view(value.shape) for (name, value), piece in pieces}

    def started(self, stage: str, total: int = 0) -> None:
        """Tell that a stage begins."""
        self._observer.started(stage, total)

    def advanced(self, count: int = 1) -> None:
        """Tell that products, or what takes as long, are done.

        Raises
        ------
        StoppedError
            If the observer asks for the end.
        """
        self._observer.advanced(self.whole.name, count)
        if self._observer.should_stop():
            raise StoppedError

    def curved(self, columns: Tensor) -> Tensor:
        """Return H V in float64, for columns (n, k)."""
        return self.multiplied(columns, self.operator)

    def multiplied(self, columns: Tensor, operator: SymmetricOperator) -> Tensor:
        """Return the product of a matrix with columns (n, k) in float64, a few at a time."""
        found = torch.empty_like(columns, dtype=torch.float64)
        for first in range(0, columns.shape[1], _COLUMNS):
            part = columns[:, first : first + _COLUMNS]
            found[:, first : first + _COLUMNS] = operator.matmat(part.to(operator.dtype)).double()
            self.advanced(part.shape[1])
        return found

    def checked(self, *, refuse: bool) -> OperatorCheck:
        """Check the products before any are spent: symmetric, repeatable, truly a second derivative.

        Raises
        ------
        SelfCheckError
            If they are not, and `refuse` is set.
        """
        self.started("operator check")
        recut = HessianEngine(self.problem.recut(HalvedBatches(self.problem.batches)), memory=0, engine="retained")
        check = measure_noise(
            self.engine, recut, [self.whole], lambda name: generator_for(self.seed, f"check/{name}")
        )
        check.derivative = check_derivative(self.problem, generator_for(self.seed, "check"))
        if refuse:
            require_sound(check, self.problem.dtype)
        return check

    def fisher(self) -> SymmetricOperator:
        """Return the whole Fisher matrix, exact in its expectation.

        Raises
        ------
        InputError
            If the loss has none.
        """
        room = self.prepared.graph_memory - (self.engine.graph_bytes if self.engine.keeps_graphs else 0)
        engine = HessianEngine(self.problem.with_curvature(Fisher()), memory=max(room, 0))
        return engine.operator(self.whole)

    def mini_gradients(self, count: int, size: int, *, replacement: bool) -> Iterator[dict[str, Tensor]]:
        """Yield gradients of mini-batches; those drawn with replacement are others than those without."""
        stream = self.prepared.stream
        seed = (self.seed + _SEED_OF_BATCHES + int(replacement)) % 2**63
        for samples in drawn_samples(stream, count, size, seed, replacement=replacement):
            yield gradient_of(self.problem, stream, samples)
            self.advanced()

    def sample_gradients(self, most: int) -> Iterator[dict[str, Tensor]]:
        """Yield gradients of single samples, each another: of all, or of the first ones in their random order."""
        stream = self.prepared.stream
        for sample in torch.split(stream.order[:most], 1):
            yield gradient_of(self.problem, stream, sample)
            self.advanced()

    def loss_after(self, step: Tensor) -> float | None:
        """Return L(θ + d) in float64; None where it is not finite."""
        with moved(self._precise, step), suppress(NonFiniteError):
            return self._precise.measure_loss()
        return None

    @cached_property
    def precise_curvature(self) -> float:
        """g·Hg/‖g‖² by one product in float64."""
        vector = self.flat(self.gradient)[:, None] / self.gradient_norm
        engine = HessianEngine(self._precise, memory=0, engine="retained")
        return float((vector * engine.operator(self.whole).matmat(vector)).sum())
