"""The quadratic forms in the space of a loss's outputs that every curvature but the Hessian is made from.

A curvature Σ_i J_iᵀ M_i J_i, with J_i the derivative of the outputs f_i of item i, is told by M_i.  A form is
½ Σ_i z_iᵀ M_i z_i as a function of the displacement z of the outputs, M_i held at the outputs as they are; its
gradient at z = 0 is zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from hessent.errors import UsageError


class OutputForms(ABC):
    """The forms of one loss; each method returns a scalar, summed over the items of a micro-batch.

    In all of them `at` are the outputs as they are, constants of the form; `z` is their displacement, of the same
    shape; `targets` are those of the micro-batch.
    """

    @abstractmethod
    def gauss_newton(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return the form whose M_i is the second derivative of the loss by its outputs."""

    def fisher(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return the form of the scores' covariance, in expectation over the predictive distribution.

        Raises
        ------
        UsageError
            If the loss is not the negative log-likelihood of a distribution that it names.
        """
        raise _without_distribution()

    def sampled_fisher(self, at: Any, targets: Any, z: Any, draws: Tensor) -> Tensor:
        """Return the same form as a mean over targets drawn from the predictive distribution.

        Parameters
        ----------
        at, targets, z
            As above.
        draws : Tensor
            Uniform numbers in (0, 1) that say which targets are drawn, shape (*targets.shape, draws).

        Raises
        ------
        UsageError
            If the loss is not the negative log-likelihood of a distribution that it names.
        """
        raise _without_distribution()

    @abstractmethod
    def empirical_fisher(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return the form of the scores' outer products at the data's own targets."""


def _without_distribution() -> UsageError:
    return UsageError(
        "the loss does not say of which distribution it is the negative log-likelihood: it has no Fisher matrix",
        where="--curvature fisher",
        expected="cross-entropy, next-token, mse or half-squared-error",
        fix="--curvature ggn, which needs no distribution, or --curvature empirical-fisher",
    )
