"""The largest eigenvalue of H as a preconditioned step sees it: of P^-½ H P^-½, by a short Lanczos run.

A Ritz value is an inner bound; its residual says how far the eigenvalue may lie beyond it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.gradient_space import krylov_space
from hessent.eigensolver.probes import gaussian_vectors
from hessent.estimate import Estimate
from hessent.optimizers.steps.explicit_step import Map
from hessent.pipeline.step.situation import StepSituation

STEPS = 20


class _SeenThrough(SymmetricOperator):
    """P^-½ H P^-½."""

    def __init__(self, situation: StepSituation, inverse_root: Map) -> None:
        self._situation, self._root = situation, inverse_root
        inner = situation.operator
        self.size, self.dtype, self.device, self.name = inner.size, torch.float64, inner.device, inner.name
        self.num_matvecs = 0

    def scaled(self, vector: Tensor) -> Tensor:
        """Return P^-½ v."""
        return self._situation.flat(self._root(self._situation.by_parameter(vector)))

    def _multiply(self, V: Tensor) -> Tensor:
        inner = torch.stack([self.scaled(column) for column in V.T], dim=1)
        products = self._situation.curved(inner)
        return torch.stack([self.scaled(column) for column in products.T], dim=1)


def metric_sharpness(situation: StepSituation, inverse_root: Map) -> Estimate:
    """Return λ_max(P^-½ H P^-½).

    Parameters
    ----------
    situation : StepSituation
        Multiplies with H.
    inverse_root : callable
        v → P^-½ v, by parameter.
    """
    operator = _SeenThrough(situation, inverse_root)
    start = gaussian_vectors(operator.size, 1, seed=situation.seed, key="step/metric", device=operator.device)[0]
    along = operator.scaled(situation.flat(situation.gradient))
    if bool(along.any()):  # where large eigenvalues are likely to be seen
        start = start / start.norm() + along / along.norm()
    space = krylov_space(operator, start, steps=STEPS, memory=situation.prepared.vector_memory)
    return largest(space.values[-1], space.residuals[-1])


def largest(value: float, residual: float) -> Estimate:
    """Return λ_max from the largest Ritz value and its residual."""
    found = float(value)
    return Estimate.exactly(found) if residual == 0.0 else Estimate(found, found, found + float(residual))


def limit_of(reach: float, sharpness: Estimate) -> Estimate:
    """Return reach/λ_max, the largest stable rate; without a positive λ_max there is none."""
    if sharpness.value is None:
        return Estimate.unknown(sharpness.reason or "the largest eigenvalue is not known")
    if sharpness.value <= 0.0:
        return Estimate.unknown("no eigenvalue is positive: nothing holds the step back")
    if sharpness.exact:
        return Estimate.exactly(reach / sharpness.value)
    high = None if sharpness.high is None else reach / sharpness.high
    return Estimate(reach / sharpness.value, high, reach / sharpness.value)
