"""The summed objective of one micro-batch as a function of tensors that stand in for the parameters."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hessent.curvature.engines.constant_regions import ConstantRegions
from hessent.curvature.engines.own_tangents import OwnTangents
from hessent.curvature.problem import Problem

_BESIDE_THE_POINT = (
    ".*performance drop.*",  # vmap has no rule for an operation and loops over it: right, only slower
    ".*torch.jit.script.*deprecated.*",  # torch's own use of it, where forward derivatives are first loaded
)


@contextlib.contextmanager
def quiet_transforms() -> Iterator[None]:
    """Hold back torch's warnings about how it does its function transforms."""
    with warnings.catch_warnings():
        for message in _BESIDE_THE_POINT:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """Hold a CPU's fused LSTM off, which in single precision has no forward derivative."""
    was = torch.backends.mkldnn.enabled
    try:
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        yield
    finally:
        torch.backends.mkldnn.enabled = was


class FunctionalObjective:
    """What the curvature is the Hessian of, over one micro-batch, of parameters that are given with every call.

    Parameters
    ----------
    problem : Problem
        Defines curvature, loss and model.
    inputs, targets
        The micro-batch, already on the device.
    """

    def __init__(self, problem: Problem, inputs: Any, targets: Any) -> None:
        self._problem = problem
        self._arguments: tuple[Any, ...] = () if isinstance(inputs, dict) else (inputs,)
        self._keywords: dict[str, Any] = inputs if isinstance(inputs, dict) else {}
        self._targets = targets
        self._has_lstm = any(isinstance(module, nn.LSTM) for module in problem.model.modules())

    def __call__(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the objective with some or all parameters replaced; tied ones follow, others are constants.

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
        with _unfused() if self._has_lstm else contextlib.nullcontext(), ConstantRegions(), OwnTangents():
            outputs = functional_call(
                self._problem.model, replaced, self._arguments, self._keywords, tie_weights=True
            )
            return self._problem.curvature.objective(self._problem.loss, outputs, self._targets)
