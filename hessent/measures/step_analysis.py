"""What `hessent step` found: one step of each optimizer in the measured curvature of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hessent.estimate import Estimate
from hessent.spectra.provenance import CheckpointInfo, DataInfo

OPTIMIZERS = (
    "newton",
    "ngd",
    "normalized-ngd",
    "gradient-norm-ngd",
    "eigenbasis-ngd",
    "gd",
    "normalized-gd",
    "sign-gd",
    "momentum",
    "l-bfgs",
    "k-fac",
    "shampoo",
    "adam",
    "adagrad",
    "adahessian",
    "sophia",
    "lion",
    "emc",
)
CLOSED_FORM, STATE, REBUILT = "closed-form", "state", "rebuilt"


@dataclass(frozen=True)
class MeasuredStep:
    """The loss really evaluated after a step.

    Attributes
    ----------
    learning_rate : float
    predicted : float
        D by the quadratic model, in the unit of the loss.
    decrease : float
        L(θ) − L(θ + d) over the same samples.
    """

    learning_rate: float
    predicted: float
    decrease: float


@dataclass(frozen=True)
class StepRow:
    """One optimizer's step d in the quadratic model L(θ + d) ≈ L + g·d + ½ d·Hd, all in the unit of the loss.

    Attributes
    ----------
    optimizer : str
        One of `OPTIMIZERS`.
    source : str
        ``closed-form``, or where the optimizer's state is from: ``state`` of the checkpoint, or ``rebuilt``.
    told : str
        The same as a clause, with what a stranger needs to know (damping, batches, what was left out).
    learning_rate : float or None
        The step size at which the numbers hold: a, ε or η of the unified view.
    learning_rate_from : str
        ``given``, ``training`` (the checkpoint's metadata), ``best``, or ``default``.
    decrease : Estimate
        D = −(g·d + ½ d·Hd).
    norm_h_squared : Estimate
        d·Hd; negative where d runs along negative curvature.
    best_learning_rate : Estimate
        The step size of the largest D; unknown, with the reason, where none is largest.
    best_decrease : Estimate
        D at that step size; unknown where there is none.
    stability_limit : Estimate
        The step size beyond which iterating diverges in this quadratic model; unknown, with the reason, where there
        is no such limit.
    noise : Estimate
        N_b = ½ E[d_ξ·H d_ξ], what the noise of mini-batches adds to the expected loss.
    clip : float or None
        C, where the step is the clipped variant.
    measured : tuple of MeasuredStep
        By rising learning rate; those after which the loss is not finite are left out.
    """

    optimizer: str
    source: str
    told: str
    learning_rate: float | None
    learning_rate_from: str
    decrease: Estimate
    norm_h_squared: Estimate
    best_learning_rate: Estimate
    best_decrease: Estimate
    stability_limit: Estimate
    noise: Estimate
    clip: float | None = None
    measured: tuple[MeasuredStep, ...] = ()

    @property
    def measured_decrease(self) -> float | None:
        """What the loss really falls by at `learning_rate`; None where it was not evaluated, or is not finite."""
        return next((own.decrease for own in self.measured if own.learning_rate == self.learning_rate), None)


@dataclass(frozen=True)
class StepDirection:
    """One eigendirection of H, and what each step does along it; or all the rest of them together.

    Attributes
    ----------
    eigenvalue : float or None
        λ; None for the rest.
    gradient_share : float
        ĝ²/‖g‖².
    decrease : mapping of str to float
        D_i by optimizer; those add up to D with the rest.
    """

    eigenvalue: float | None
    gradient_share: float
    decrease: Mapping[str, float | None]


@dataclass(frozen=True)
class StepAnalysis:
    """The analysis of one checkpoint.

    Attributes
    ----------
    checkpoint, data : CheckpointInfo, DataInfo
    loss : str
        Its name.
    loss_value : float
        L(θ).
    seed : int
    parameters : int
        n.
    gradient_norm : float
        ‖g‖.
    lambda_max : Estimate
    curvature_along_gradient : float
        g·Hg/‖g‖².
    damping : float
        δ in f(abs(λ) + δ), in the unit of the eigenvalues.
    negative_share : Estimate
        Share of ‖g‖² along negative curvature.
    noise_scale : Estimate
        k = tr Σ / tr H, with Σ the covariance of one sample's gradient.
    noise_batches, batch_size : int
        K and B of the noise.
    curvature : str
        How functions of H were had, as a clause.
    matvecs : int
        Products with H.
    rows : tuple of StepRow
    directions : tuple of StepDirection
        By falling abs(λ); the rest is last.
    cautions : tuple of str
        Sentences that belong beside the numbers.
    """

    checkpoint: CheckpointInfo
    data: DataInfo
    loss: str
    loss_value: float
    seed: int
    parameters: int
    gradient_norm: float
    lambda_max: Estimate
    curvature_along_gradient: float
    damping: float
    negative_share: Estimate
    noise_scale: Estimate
    noise_batches: int
    batch_size: int
    curvature: str
    matvecs: int
    rows: tuple[StepRow, ...]
    directions: tuple[StepDirection, ...]
    cautions: tuple[str, ...] = ()
