"""The curvature matrices by name.

    hessian             ∂²L/∂θ²
    ggn                 (1/N) Σ_i J_iᵀ (∂²ℓ/∂f²) J_i, the generalised Gauss-Newton matrix: the Hessian of the loss
                        with the model taken as linear in θ
    fisher              (1/N) Σ_i E[s sᵀ] with s = ∇ log p(y|x_i), y from the MODEL's own predictive distribution
                        p(·|x_i); the expectation exact, or from a few draws of y per item
    empirical-fisher    (1/N) Σ_i ∇ℓ_i ∇ℓ_iᵀ at the DATA's own targets: the second moment of per-item gradients

The first three agree in special cases: ggn and fisher for likelihoods of exponential families in their natural
parameters, such as softmax cross-entropy; the Hessian with both where the model is linear in θ.  The empirical
Fisher is no estimate of any of them.  See Martens, 2020, and Kunstner, Hennig & Balles, 2019.

All but the Hessian are Σ_i J_iᵀ M_i J_i / N with M_i a matrix in the space of an item's outputs.  Such a matrix is
the Hessian of q(θ) = ½ Σ_i z_iᵀ M_i z_i, z_i = f_i(θ) − c_i, with c and M the outputs and matrices of now, held
fixed: as z = 0, the terms with second derivatives of f are zero to the last bit.  So every engine that multiplies
with Hessians multiplies with these, at the same cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hessent.curvature.containers import map_tensors
from hessent.curvature.losses.loss import Loss
from hessent.curvature.matrices.drawn_targets import DrawnTargets, DrawnTargetsLoss
from hessent.errors import UsageError, suggest

HESSIAN = "hessian"


class Curvature(ABC):
    """Which matrix is multiplied with.

    Attributes
    ----------
    name : str
        As on the command line and in files.
    definition : str
        One line.
    semidefinite : bool
        Whether it has no negative eigenvalue: always for Fisher matrices, and for the Gauss-Newton matrix of a loss
        that is convex in the outputs.
    """

    name: str
    definition: str
    semidefinite: bool = True

    @abstractmethod
    def objective(self, loss: Loss, outputs: Any, targets: Any) -> Tensor:
        """Return the scalar, summed over items, whose Hessian by the parameters is the matrix."""

    def loss(self, loss: Loss) -> Loss:
        """Return the loss, fit for the targets of `batches`."""
        return loss

    def as_settings(self) -> dict[str, Any]:
        """Return what a file says of the matrix beside its name."""
        return {"curvature_definition": self.definition}

    def batches(self, batches: Any) -> Any:
        """Return the micro-batches, with what the matrix needs beside the targets."""
        return batches


class Hessian(Curvature):
    """The second derivative of the mean loss."""

    name = HESSIAN
    definition = "second derivative of the mean loss by the parameters"
    semidefinite = False

    def objective(self, loss: Loss, outputs: Any, targets: Any) -> Tensor:
        """Return the loss itself."""
        return loss.sum(outputs, targets)

    def as_settings(self) -> dict[str, Any]:
        """Return nothing: files of every version say that they hold the Hessian, and how it was measured."""
        return {}


class OutputForm(Curvature):
    """The Hessian of a quadratic form of the outputs, to which second derivatives of the model add nothing."""

    @abstractmethod
    def form(self, loss: Loss, at: Any, targets: Any, z: Any) -> Tensor:
        """Return the form in the space of the outputs, as a function of their displacement `z`, over all items."""

    def objective(self, loss: Loss, outputs: Any, targets: Any) -> Tensor:
        """Return the form at the displacement 0, as a function of the parameters."""
        at = map_tensors(outputs, lambda tensor: tensor.detach())
        return self.form(loss, at, targets, outputs - at if isinstance(at, Tensor) else outputs)


class GaussNewton(OutputForm):
    """The generalised Gauss-Newton matrix."""

    name = "ggn"
    definition = "mean over items of Jᵀ (second derivative of the loss by the outputs) J"

    def form(self, loss: Loss, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ zᵀ (∂²ℓ/∂f²) z."""
        return loss.forms.gauss_newton(at, targets, z)


class Fisher(OutputForm):
    """The Fisher matrix, the expectation over the predictive distribution taken exactly."""

    name = "fisher"
    definition = "mean over items of E[s sᵀ], s = ∇ log p(y|x), y from the model's distribution, exactly"

    def form(self, loss: Loss, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ E (s · z)²."""
        return loss.forms.fisher(at, targets, z)


class EmpiricalFisher(OutputForm):
    """The second moment of the per-item gradients at the data's own targets."""

    name = "empirical-fisher"
    definition = "mean over items of g gᵀ, g = gradient of the item's loss at the data's own target"

    def form(self, loss: Loss, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ (∂ℓ/∂f · z)²."""
        return loss.forms.empirical_fisher(at, targets, z)


@dataclass(frozen=True)
class SampledFisher(OutputForm):
    """The Fisher matrix from targets drawn from the predictive distribution, the same ones on every pass.

    Attributes
    ----------
    draws : int
        Targets per item.
    seed : int
        Of the draws.
    """

    draws: int
    seed: int

    name = "fisher"

    @property
    def definition(self) -> str:  # type: ignore[override]
        """One line, with the number of draws."""
        return (
            "mean over items of s sᵀ, s = ∇ log p(y|x), y from the model's distribution; "
            f"{self.draws:,} draw{'s' if self.draws > 1 else ''} per item"
        )

    def form(self, loss: Loss, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ mean over the draws of (s · z)²."""
        return loss.forms.sampled_fisher(at, targets["targets"], z, targets["draws"])

    def loss(self, loss: Loss) -> Loss:
        """Return the loss of targets with draws beside them."""
        return DrawnTargetsLoss(loss)

    def as_settings(self) -> dict[str, Any]:
        """Return the definition and the number of draws."""
        return {**super().as_settings(), "fisher_samples": self.draws}

    def batches(self, batches: Any) -> Any:
        """Return the micro-batches, draws beside every target."""
        return DrawnTargets(batches, self.draws, self.seed)


_KINDS: dict[str, Callable[[], Curvature]] = {
    kind.name: kind for kind in (Hessian, GaussNewton, Fisher, EmpiricalFisher)
}
CURVATURES = tuple(_KINDS)


def resolve_curvature(name: str, *, fisher_samples: int | None = None, seed: int = 0) -> Curvature:
    """Return the matrix that a name stands for.

    Parameters
    ----------
    name : str
        `hessian`, `ggn`, `fisher` or `empirical-fisher`.
    fisher_samples : int, optional
        Of `fisher`: draws per item, in place of the exact expectation.
    seed : int
        Of the draws.

    Raises
    ------
    UsageError
        If there is no such matrix, or draws make no sense for it.
    """
    if name not in _KINDS:
        raise UsageError(
            f"'{name}' is not a curvature",
            where="--curvature",
            expected=" | ".join(CURVATURES),
            fix=suggest(name, CURVATURES),
        )
    if fisher_samples is None:
        return _KINDS[name]()
    if name != Fisher.name:
        raise UsageError(f"--fisher-samples says nothing about {name}", fix="--curvature fisher")
    if fisher_samples < 1:
        raise UsageError(f"--fisher-samples {fisher_samples}", expected="at least 1")
    return SampledFisher(fisher_samples, seed)
