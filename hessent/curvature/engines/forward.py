"""Forward over reverse: the derivative of the gradient along a vector, with nothing kept between calls.

    H_bb v = d/dt ∇_b L(θ_b + t v) at t = 0

Tangents are carried through the forward pass and the backward pass together, so a product needs no second backward
pass and no graph that outlives it: memory is that of a gradient with its tangents.  The order is jvp of grad; grad
of jvp and jvp of jacrev are wrong through LayerNorm without a warning and are used nowhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from hessent.curvature.blocks import Block
from hessent.curvature.engines.functional_objective import FunctionalObjective, quiet_transforms
from hessent.curvature.engines.micro_batch import MicroBatch, unflatten
from hessent.curvature.problem import Problem, exact_derivatives


class ForwardOverReverse(MicroBatch):
    """Products of one micro-batch by forward over reverse differentiation.

    Parameters
    ----------
    problem : Problem
        Defines loss and parameters.
    inputs, targets
        The micro-batch, already on the device.
    at_once : int
        Vectors per pass; above 1 they are batched (vmap), and share the parts that depend on no vector.
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any, *, at_once: int = 8) -> None:
        super().__init__(problem, inputs, targets)
        self._at_once = at_once
        self._inputs, self._targets = inputs, targets
        self._objective = FunctionalObjective(problem, inputs, targets)

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradient of the summed objective, by parameter, computed anew on every call."""
        names, parameters = list(self.problem.parameters), list(self.problem.parameters.values())
        with torch.enable_grad(), exact_derivatives(self.problem.model):
            total = self.problem.objective_sum(self._inputs, self._targets)
            gradients = torch.autograd.grad(total, parameters, materialize_grads=True)
        return dict(zip(names, gradients, strict=True))

    def products(self, block: Block, V: Tensor) -> Tensor:
        """Return the product of the summed Hessian's principal submatrix with columns (n_b, k).

        Raises
        ------
        RuntimeError, ValueError, NotImplementedError, TypeError
            If an operation of the model or the loss has no forward derivative or cannot be batched.
        """
        primals = {name: self.problem.parameters[name].detach() for name in block.parameters}
        gradient = grad(self._objective)

        def directional(*tangents: Tensor) -> Tensor:
            along = dict(zip(primals, tangents, strict=True))
            derivative = jvp(gradient, (primals,), (along,))[1]
            return torch.cat([part.reshape(-1) for part in derivative.values()])

        columns: list[Tensor] = []
        with exact_derivatives(self.problem.model), quiet_transforms():
            for chunk in torch.split(V, self._at_once, dim=1):
                parts = unflatten(chunk, list(primals.values()))
                if chunk.shape[1] == 1:
                    columns.append(directional(*(part[0] for part in parts))[:, None])
                else:
                    columns.append(vmap(directional)(*parts).T)
        return torch.cat(columns, dim=1)
