"""The gradient linearised once: every product with the whole Hessian is then one run of a straight-line program.

    v  →  d/dt ∇L(θ + t v) at t = 0

One run of jvp(grad) is recorded.  Everything that does not depend on v is kept as a constant; the program that
remains has neither autograd nor any part of the gradient between its operations.  torch.func.linearize is not used:
it takes ten times as long, copies every constant, and is wrong without a warning where values are written in place
(recurrent layers, nn.MultiheadAttention).

A product with a small block would run the whole program, so small blocks go through a gradient graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp

from hessent.curvature.blocks import Block
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.functional_loss import FunctionalLoss, quiet_transforms
from hessent.curvature.engines.linear_program import LinearProgram
from hessent.curvature.engines.micro_batch import MicroBatch, unflatten
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
        if 2 * block.size < self.problem.num_params:
            if self._graph is None:
                self._graph = DoubleBackward(self.problem, self._inputs, self._targets)
            return self._graph.products(block, V)
        _, program = self._trace()
        parameters = self.problem.parameters
        positions = [list(parameters).index(name) for name in block.parameters]
        chosen = [parameters[name] for name in block.parameters]
        vectors = V.T.contiguous()
        rows = torch.empty_like(vectors)
        sizes = [parameter.numel() for parameter in chosen]
        with exact_derivatives(self.problem.model), torch.no_grad():
            for vector, row in zip(vectors, rows, strict=True):
                tangents = _zeros_like(parameters)
                for position, part in zip(positions, unflatten(vector[:, None], chosen), strict=True):
                    tangents[position].copy_(part[0])
                found = program.run(tangents)
                for position, piece in zip(positions, torch.split(row, sizes), strict=True):
                    piece.copy_(found[position].reshape(-1))
        return rows.T

    def _trace(self) -> tuple[dict[str, Tensor], LinearProgram]:
        if self._traced is None:
            parameters = self.problem.parameters
            primals = {name: parameter.detach() for name, parameter in parameters.items()}
            tangents = _zeros_like(parameters)
            gradient = grad(FunctionalLoss(self.problem, self._inputs, self._targets))
            with exact_derivatives(self.problem.model), quiet_transforms(), Recorder(tangents) as recorder:
                along = dict(zip(primals, tangents, strict=True))
                gradients, derivative = jvp(gradient, (primals,), (along,))[:2]
            self._traced = gradients, recorder.program(list(derivative.values()))
        return self._traced


def _zeros_like(parameters: dict[str, Tensor]) -> list[Tensor]:
    """One tangent per parameter, strides as the parameter's: a recorded program depends on them."""
    return [torch.zeros_like(parameter.detach()) for parameter in parameters.values()]
