"""Sums over all eigenvalues: exactly where the matrix was formed, else from converged pairs and random vectors.

With V the converged eigenvectors (n, k), eigenvalues θ, and z uniform on the unit sphere of their complement,

    tr H = Σ θ + (n − k) E[z·Hz],      tr H² = Σ θ² + (n − k) E[‖Hz‖²].

What the few large eigenvalues would add to the scatter is taken out beforehand.  Other sums are enclosed by tr H²
(`hessent.measures.step_noise`).
"""

from __future__ import annotations

import numpy as np

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.gradient_space import GradientSpace
from hessent.eigensolver.probes import gaussian_vectors
from hessent.estimate import Estimate
from hessent.measures.skewed_mean import skewed_mean
from hessent.measures.spectral_functions import SpectralFunction
from hessent.measures.step_noise import enclosed_trace, formed_trace
from hessent.pipeline.step.situation import StepSituation

PROBES = 12


class SpectrumSums:
    """Sums over the eigenvalues of a matrix.

    Parameters
    ----------
    situation : StepSituation
        Told of products.
    space : GradientSpace
        Of the matrix.
    operator : SymmetricOperator
        The matrix: multiplied with twelve random vectors where it was not formed.

    Attributes
    ----------
    trace, squared : Estimate
        Of the matrix, and of its square.
    """

    def __init__(self, situation: StepSituation, space: GradientSpace, operator: SymmetricOperator) -> None:
        self.space = space
        if space.quadrature.complete:
            self.trace = Estimate.exactly(float(space.values.sum()))
            self.squared = Estimate.exactly(float(np.square(space.values).sum()))
            return
        self._situation, self._operator = situation, operator
        self._held, vectors, _ = space.converged()
        self._rest = space.size - len(self._held)
        probes = min(PROBES, max(self._rest, 1))
        drawn = gaussian_vectors(space.size, probes, seed=situation.seed, key="step/trace", device=vectors.device)
        columns = drawn.T.contiguous()
        for _ in range(2):
            columns -= vectors @ (vectors.T @ columns)
        columns /= columns.norm(dim=0)
        products = situation.multiplied(columns, operator)
        first = (self._rest * (columns * products).sum(dim=0)).cpu().numpy()
        second = (self._rest * products.square().sum(dim=0)).cpu().numpy()
        self.trace = skewed_mean(first + float(self._held.sum()))
        self.squared = skewed_mean(second + float(np.square(self._held).sum()))

    def over(self, function: SpectralFunction) -> Estimate:
        """Return Σ_i h(λ_i), for h as `enclosed_trace` takes it."""
        quadrature = self.space.quadrature
        known = formed_trace(quadrature.values) if quadrature.complete else enclosed_trace(quadrature, self.squared)
        return known(function)


def noise_scale(covariance: Estimate, trace: Estimate) -> Estimate:
    """Return k = tr Σ/tr H; the ends of the interval are those of both at their worst."""
    if covariance.value is None or trace.value is None:
        return Estimate.unknown(covariance.reason or trace.reason or "a trace is not known")
    if trace.value <= 0.0:
        return Estimate.unknown("tr H is not positive, so Σ is no multiple of H")
    if covariance.low is None or covariance.high is None or trace.low is None or trace.high is None:
        return Estimate(covariance.value / trace.value, None, None)
    high = covariance.high / trace.low if trace.low > 0.0 else None
    return Estimate(covariance.value / trace.value, covariance.low / trace.high, high)
