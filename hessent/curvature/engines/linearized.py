"""The gradient linearised once: every product with the whole Hessian is then one run of a straight-line program.

    v  →  d/dt ∇L(θ + t v) at t = 0

One run of jvp(grad) is recorded.  Everything that does not depend on v is kept as a constant; the program that
remains has neither autograd nor any part of the gradient between its operations.  torch.func.linearize is not used:
it takes ten times as long, copies every constant, and is wrong without a warning where values are written in place
(recurrent layers, nn.MultiheadAttention).

A block's product runs the part of the program that leads from its parameters to them and back; where that cannot be
told apart (a value written into zeros), it goes through a gradient graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp

from hessent.curvature.blocks import Block
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.functional_objective import FunctionalObjective, quiet_transforms
from hessent.curvature.engines.linear_program import LinearProgram
from hessent.curvature.engines.micro_batch import MicroBatch, unflatten
from hessent.curvature.engines.program_slice import ProgramSlices
from hessent.curvature.engines.recorder import Recorder
from hessent.curvature.problem import Problem, exact_derivatives


class Linearized(MicroBatch):
    """The gradient of one micro-batch, linearised at the parameters when the first product asks for it.

    Parameters
    ----------
    problem : Problem
        Defines loss and parameters.
    inputs, targets
        The micro-batch, already on the device.
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any) -> None:
        super().__init__(problem, inputs, targets)
        self._inputs, self._targets = inputs, targets
        self._traced: tuple[dict[str, Tensor], LinearProgram] | None = None
        self._graph: DoubleBackward | None = None
        self._slices: ProgramSlices | None = None
        self._programs: dict[tuple[str, ...], LinearProgram | None] = {}

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradient of the summed loss, by parameter."""
        return self._graph.gradients if self._graph is not None else self._trace()[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the values that the linear map keeps, shared storages counted once."""
        return self._trace()[1].nbytes

    def products(self, block: Block, V: Tensor) -> Tensor:
        """Return the product of the summed Hessian's principal submatrix with columns (n_b, k).

        Raises
        ------
        RuntimeError, ValueError, NotImplementedError, TypeError
            If an operation of the model or the loss has no forward derivative or cannot be recorded.
        """
        program = self._program(block)
        if program is None:
            return self._double_backward().products(block, V)
        parameters = self.problem.parameters
        chosen = [parameters[name].detach() for name in block.parameters]
        sizes = [parameter.numel() for parameter in chosen]
        vectors = V.T.contiguous()
        rows = torch.empty_like(vectors)
        inputs: list[Any] = [None] * len(parameters)
        with exact_derivatives(self.problem.model), torch.no_grad():
            for vector, row in zip(vectors, rows, strict=True):
                parts = unflatten(vector[:, None], chosen)
                for position, like, part in zip(self._positions(block), chosen, parts, strict=True):
                    # Strides as the parameter's: a recorded program depends on them.
                    inputs[position] = torch.empty_like(like).copy_(part[0])
                for piece, found in zip(torch.split(row, sizes), program.run(inputs), strict=True):
                    piece.copy_(found.reshape(-1))
        return rows.T

    def _positions(self, block: Block) -> list[int]:
        names = list(self.problem.parameters)
        return [names.index(name) for name in block.parameters]

    def _program(self, block: Block) -> LinearProgram | None:
        """The part of the program that a block needs; None where it cannot be told apart."""
        if block.parameters not in self._programs:
            whole = self._trace()[1]
            if self._slices is None:
                self._slices = ProgramSlices(whole, _zeros_like(self.problem.parameters))
            positions = self._positions(block)
            self._programs[block.parameters] = self._slices.between(positions, positions)
        return self._programs[block.parameters]

    def _double_backward(self) -> DoubleBackward:
        if self._graph is None:
            self._graph = DoubleBackward(self.problem, self._inputs, self._targets)
        return self._graph

    def _trace(self) -> tuple[dict[str, Tensor], LinearProgram]:
        if self._traced is None:
            parameters = self.problem.parameters
            primals = {name: parameter.detach() for name, parameter in parameters.items()}
            tangents = _zeros_like(parameters)
            gradient = grad(FunctionalObjective(self.problem, self._inputs, self._targets))
            with exact_derivatives(self.problem.model), quiet_transforms(), Recorder(tangents) as recorder:
                along = dict(zip(primals, tangents, strict=True))
                gradients, derivative = jvp(gradient, (primals,), (along,))[:2]
            self._traced = gradients, recorder.program(list(derivative.values()))
        return self._traced


def _zeros_like(parameters: dict[str, Tensor]) -> list[Tensor]:
    """One tangent per parameter, strides as the parameter's: a recorded program depends on them."""
    return [torch.zeros_like(parameter.detach()) for parameter in parameters.values()]
