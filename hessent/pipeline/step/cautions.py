"""What spoils the numbers of an analysis, or limits what they say: sentences beside the table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hessent.curvature.selfcheck import OperatorCheck
from hessent.eigensolver.gradient_space import GradientSpace
from hessent.estimate import Estimate
from hessent.pipeline.step.rows import AnalysedStep
from hessent.pipeline.step.situation import StepSituation

_NEGATIVE = 0.01  # share of ‖g‖² along negative curvature
_NOISY = 1e-3  # relative noise of a product
_COARSE = 1e-2  # relative difference of g·Hg in float32 and float64


def cautions_of(
    situation: StepSituation,
    space: GradientSpace,
    check: OperatorCheck,
    steps: Sequence[AnalysedStep],
    covariance: Estimate,
) -> tuple[str, ...]:
    """Return the sentences.

    Parameters
    ----------
    situation : StepSituation
        Where steps are taken.
    space : GradientSpace
        Functions of the Hessian.
    check : OperatorCheck
        Of its products.
    steps : sequence of AnalysedStep
        As they were taken.
    covariance : Estimate
        tr Σ.
    """
    found = [
        *_of_gradient(situation, covariance),
        *_of_curvature(space),
        *_of_precision(situation, space, check),
        *_of_model(situation),
        *_of_losses(steps),
    ]
    return tuple(found)


def _of_gradient(situation: StepSituation, covariance: Estimate) -> list[str]:
    samples = situation.problem.num_samples
    if covariance.value is None:
        return []
    error = (covariance.value / samples) ** 0.5
    if situation.gradient_norm > error:
        return []
    return [
        f"the gradient is nearly zero: ‖g‖ {situation.gradient_norm:.3g} is below the error {error:.3g} of having "
        f"just these {samples:,} samples, so on other data the steps would point elsewhere"
    ]


def _of_curvature(space: GradientSpace) -> list[str]:
    below = space.values < 0.0
    share = float(space.weights[below].sum()) / space.quadrature.norm_squared
    if share <= _NEGATIVE:
        return []
    return [
        f"{100 * share:.0f} % of ‖g‖² lies along negative curvature: newton and its kin take |λ| + δ there, and no "
        "minimum lies ahead that way"
    ]


def _of_precision(situation: StepSituation, space: GradientSpace, check: OperatorCheck) -> list[str]:
    found = []
    noise = max(check.noise.values())
    if noise > _NOISY:
        found.append(f"products with the Hessian are repeated only to {noise:.1g}: --dtype float64")
    coarse = float(space.weights @ space.values) / situation.gradient_norm**2
    exact = situation.precise_curvature
    if abs(coarse - exact) > _COARSE * abs(exact):
        found.append(
            f"g·Hg/‖g‖² is {coarse:.3g} by {situation.problem.dtype} products and {exact:.3g} in float64: rounding "
            "shows, --dtype float64"
        )
    return found


def _of_model(situation: StepSituation) -> list[str]:
    norms = [
        module
        for module in situation.problem.model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return []
    return [
        "BatchNorm is in eval mode: its running statistics are held, as in prediction; training steps see those of "
        "their mini-batch instead"
    ]


def _of_losses(steps: Sequence[AnalysedStep]) -> list[str]:
    lost = [step.row.optimizer for step in steps if step.unit is not None and step.row.measured_decrease is None]
    return [f"the loss after the step of {', '.join(lost)} is not finite"] if lost else []
