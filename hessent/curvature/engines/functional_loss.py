"""The summed loss of one micro-batch as a function of tensors that stand in for the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.func import functional_call

from hessent.curvature.engines.constant_regions import ConstantRegions
from hessent.curvature.problem import Problem


class FunctionalLoss:
    """Σ ℓ over one micro-batch, of parameters that are given with every call.

    Parameters
    ----------
    problem : Problem
        Defines loss and model.
    inputs, targets
        The micro-batch, already on the device.
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any) -> None:
        self._problem = problem
        self._arguments: tuple[Any, ...] = () if isinstance(inputs, dict) else (inputs,)
        self._keywords: dict[str, Any] = inputs if isinstance(inputs, dict) else {}
        self._targets = targets

    def __call__(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the loss where some or all parameters are replaced; tied ones follow, the others are constants.

        Parameters
        ----------
        parameters : mapping of str to Tensor
            Stand-ins by the names of `Problem.parameters`.

        Returns
        -------
        Tensor
            Scalar, summed over the items.
        """
        # Detached, so that no graph is kept for parameters that nobody differentiates by.
        constants = {
            name: parameter.detach()
            for name, parameter in self._problem.parameters.items()
            if name not in parameters
        }
        replaced = {**constants, **parameters}
        with ConstantRegions():
            outputs = functional_call(
                self._problem.model, replaced, self._arguments, self._keywords, tie_weights=True
            )
            return self._problem.loss.sum(outputs, self._targets)
