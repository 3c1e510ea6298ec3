"""Forms of any loss that is a sum over its samples, by differentiating it by its outputs alone.

    Gauss-Newton        M = ∂²ℓ/∂f²: the form is ℓ(f + z) − ⟨∂ℓ/∂f, z⟩, to second order in z a constant and ½ zᵀ M z
    empirical Fisher    M = r rᵀ with r = ∂ℓ/∂f of one sample

M is positive semidefinite where the loss is convex in its outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hessent.curvature.cross_entropy import is_plain
from hessent.curvature.matrices.output_forms import OutputForms
from hessent.errors import UsageError

if TYPE_CHECKING:
    from hessent.curvature.losses.loss import Loss


class GeneralForms(OutputForms):
    """The forms of a loss of which nothing is known but that it can be differentiated.

    Parameters
    ----------
    loss : Loss
        Its `sum` is a sum over samples, each of which depends on its own outputs alone.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def gauss_newton(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ℓ(f + z) − ⟨∂ℓ/∂f, z⟩."""
        self._require_tensor(at)
        return beyond_first_order(lambda outputs: self._loss.sum(outputs, targets), at, z)

    def empirical_fisher(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ (r · z)²; the first dimension of the outputs is that of the samples."""
        self._require_tensor(at)
        scores = _gradient(lambda outputs: self._loss.sum(outputs, targets), at)
        form: Tensor = 0.5 * (scores * z).reshape(len(at), -1).sum(1).square().sum()
        return form

    def _require_tensor(self, outputs: Any) -> None:
        if not isinstance(outputs, Tensor):
            raise UsageError(
                f"the model's outputs are a {type(outputs).__name__}",
                where=self._loss.name,
                expected="one tensor (samples, …) for every curvature but the Hessian",
                fix="--curvature hessian",
            )


def beyond_first_order(function: Callable[[Tensor], Tensor], at: Tensor, z: Tensor) -> Tensor:
    """Return function(at + z) − ⟨∇function(at), z⟩: at z = 0 its gradient is zero to the last bit."""
    return function(at + z) - (_gradient(function, at) * z).sum()


def _gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Gradient of a scalar function, as a constant."""
    if not is_plain(at):
        gradient: Tensor = torch.func.grad(function)(at)
        return gradient.detach()
    with torch.enable_grad():
        leaf = at.detach().requires_grad_()
        return torch.autograd.grad(function(leaf), leaf)[0]
