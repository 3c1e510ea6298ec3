"""Forms of a squared error c Σ (f − y)² per item.

Up to a constant it is minus the log-density of y ~ N(f, σ² I) with σ² = 1 / (2c).

    Gauss-Newton        M = 2c I
    Fisher              M = E_y s sᵀ = I / σ² with the scores s = (y − f) / σ²
    sampled Fisher      M = (1/S) Σ_s s sᵀ over S targets y drawn from N(f, σ² I)
    empirical Fisher    M = s sᵀ at the data's own target

An item is a sample; the products of a score run over all of its outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.matrices.output_forms import OutputForms
from hessent.errors import UsageError


class GaussianForms(OutputForms):
    """The forms of a squared error.

    Parameters
    ----------
    weight : callable
        The factor c, told from the outputs.
    as_outputs : callable
        Returns targets in the outputs' shape and dtype: (outputs, targets) -> tensor.
    """

    def __init__(self, weight: Callable[[Tensor], float], as_outputs: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._weight = weight
        self._as_outputs = as_outputs

    def gauss_newton(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ 2c z²."""
        form: Tensor = self._weight(at) * z.square().sum()
        return form

    def fisher(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ z² / σ²."""
        variance = 0.5 / self._weight(at)
        form: Tensor = 0.5 * (z / math.sqrt(variance)).square().sum()
        return form

    def sampled_fisher(self, at: Any, targets: Any, z: Any, draws: Tensor) -> Tensor:
        """Return ½ Σ (1/S) Σ_s (s · z)²; a draw u stands for the target f + σ Φ⁻¹(u).

        Raises
        ------
        UsageError
            If targets are class labels: there is one number per sample then, not one per output.
        """
        if draws.shape[:-1].numel() != at.numel():
            raise UsageError(
                "targets are class labels, which a normal distribution cannot be drawn for",
                where="--fisher-samples",
                fix="--curvature fisher without --fisher-samples: the exact expectation costs no more here",
            )
        deviation = math.sqrt(0.5 / self._weight(at))
        tiny = torch.finfo(draws.dtype).eps
        scores = torch.special.ndtri(draws.clamp(tiny, 1 - tiny)) / deviation
        scores = scores.reshape(*at.shape, -1)
        along = (scores * z[..., None]).reshape(len(at), -1, scores.shape[-1]).sum(1)
        form: Tensor = 0.5 * along.square().mean(1).sum()
        return form

    def empirical_fisher(self, at: Any, targets: Any, z: Any) -> Tensor:
        """Return ½ Σ (s · z)² with s = 2c (y − f)."""
        scores = 2 * self._weight(at) * (self._as_outputs(at, targets) - at)
        form: Tensor = 0.5 * (scores * z).reshape(len(at), -1).sum(1).square().sum()
        return form
