"""What the noise of mini-batches adds to the loss after one step: N_b = ½ E[d_ξ · H d_ξ], by drawing mini-batches.

A mini-batch here is B samples drawn from the N at hand, with replacement: its gradient g_b has mean g and
covariance Σ/B, with Σ the covariance of one sample's gradient.  (A pass over the data draws without, and has
1 − (B − 1)/(N − 1) of that.)  From K of them, with d_b = d(g_b):

    linear steps         N_b = mean of ½ (d_b − d)·H(d_b − d),            d = d(g) the mean of d_b
    all others           N_b = sum of ½ (d_b − d̄)·H(d_b − d̄) / (K − 1),  the variance of the step itself

Both are unbiased.  Preconditioners and moving averages are held as they are in the step with the full gradient.
The interval is that of `skewed_mean`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hessent.estimate import Estimate
from hessent.measures.skewed_mean import skewed_mean
from hessent.optimizers.steps.explicit_step import ExplicitStep
from hessent.pipeline.step.situation import ByParameter, StepSituation

_MOST_SAMPLES = 256  # whose gradients are taken one by one


class MiniBatchNoise:
    """Mini-batches of one size, and what they do to steps.

    Parameters
    ----------
    situation : StepSituation
        Where steps are taken.
    batches, size : int
        K and B.
    """

    def __init__(self, situation: StepSituation, batches: int, size: int) -> None:
        self._situation, self.size = situation, size
        self._gradients = list(situation.mini_gradients(batches, size, replacement=True))

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient of every mini-batch, each of shape (n,), float64."""
        return [self._situation.flat(own) for own in self._gradients]

    @cached_property
    def of_gradient(self) -> Estimate:
        """Return N_b of d = −g, the step of gradient descent at the learning rate 1."""
        return self._mean(self.gradients, self._situation.gradient)

    def of_step(self, step: ExplicitStep) -> Estimate:
        """Return N_b of a step at the learning rate 1; it goes with the square of the rate."""
        if step.apply is None or step.direction is None:
            return Estimate.unknown("how the step depends on the gradient is not told")
        steps = [self._situation.flat(step.apply(own)) for own in self._gradients]
        return self._mean(steps, step.direction if step.linear else None)

    def _mean(self, steps: list[Tensor], centre: ByParameter | None) -> Estimate:
        columns = torch.stack(steps, dim=1)
        middle = columns.mean(dim=1) if centre is None else self._situation.flat(centre)
        columns -= middle[:, None]
        draws = 0.5 * (columns * self._situation.curved(columns)).sum(dim=0)
        if centre is None:
            draws *= len(steps) / (len(steps) - 1)
        return skewed_mean(draws.cpu().numpy())


class SampleNoise:
    """Gradients of single samples.

    Parameters
    ----------
    situation : StepSituation
        Where they are taken.
    keep : bool
        Whether they are kept.

    Attributes
    ----------
    whole : bool
        Whether they are of all samples, not of the first 256.
    covariance : Estimate
        tr Σ = mean of ‖g_i − g‖²: exact where whole.
    deviations : Tensor or None
        g_i − g, shape (S, n), float64, where they are kept.
    """

    def __init__(self, situation: StepSituation, *, keep: bool) -> None:
        mean = situation.flat(situation.gradient)
        kept: list[Tensor] = []
        draws: list[float] = []
        for own in situation.sample_gradients(_MOST_SAMPLES):
            deviation = situation.flat(own) - mean
            draws.append(float(deviation.square().sum()))
            if keep:
                kept.append(deviation)
        self.whole = len(draws) == situation.prepared.stream.num_samples
        self.deviations = torch.stack(kept) if kept else None
        self.covariance = Estimate.exactly(sum(draws) / len(draws)) if self.whole else skewed_mean(np.array(draws))
