"""The largest eigenvalue up to which an optimizer's steps are stable: the edge of stability.

On a quadratic loss with an eigenvalue λ, and the gradient λθ of the parameter θ along its direction, these updates
shrink θ up to the limit on the right:

    gradient descent             θ' = θ − ηλθ                                  2/η
    heavy ball (torch's SGD)     m' = βm + λθ,           θ' = θ − ηm'          2(1 + β)/η
    Nesterov (torch's SGD)       m' = βm + λθ,           θ' = θ − η(λθ + βm')  2(1 + β)/((1 + 2β)η)
    Adam, its P held fixed       m' = β₁m + (1 − β₁)λθ,  θ' = θ − ηm'          2(1 + β₁)/((1 − β₁)η)

By Jury's conditions both roots of z² − Tz + D lie in the unit circle while |T| < 1 + D and |D| < 1: for heavy ball
T = 1 + β − ηλ and D = β; for Nesterov T = (1 + β)(1 − ηλ) and D = β(1 − ηλ).  In the last line λ is an eigenvalue
of P^{-1/2} H P^{-1/2} with P = diag(√v̂ + ε); for the Hessian itself Adam has no such limit.  Dampening τ of SGD
divides the limit by 1 − τ.  Weight decay w inside the gradient adds w to every eigenvalue, so w is taken off the
limit; of a preconditioned matrix it is left out, as is decay outside the gradient: it is small there.

The rate η is that of the update that follows the checkpoint, not the peak of the schedule.  The limit is that of
steps on the whole data and a quadratic loss: with small batches λ_max stays below it, and where the loss is no
quadratic it may hover about it for long instead of diverging.

References
----------
Cohen, Kaur, Li, Kolter, Talwalkar (2021), Gradient descent on neural networks typically occurs at the edge of
stability.
Cohen, Ghorbani, Krishnan, et al. (2022), Adaptive gradient methods at the edge of stability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hessent.estimate import Estimate
from hessent.measures.learning_rate import number, stated_rate
from hessent.spectra.model import Spectrum

_ADAM = ("adam", "adamw")


@dataclass(frozen=True)
class StabilityLimit:
    """A limit of stable steps.

    Attributes
    ----------
    value : float
        The largest stable eigenvalue.
    formula : str
        How it follows from the settings.
    optimizer : str
        Name of the optimizer.
    learning_rate : float
        The rate η it is for.
    """

    value: float
    formula: str
    optimizer: str
    learning_rate: float

    def share(self, lambda_max: Estimate) -> Estimate:
        """Return λ_max over the limit; above 1 steps along its direction grow."""
        if lambda_max.value is None:
            return Estimate.unknown(lambda_max.reason or "the largest eigenvalue is not known")
        low, high = (None if end is None else end / self.value for end in (lambda_max.low, lambda_max.high))
        return Estimate(lambda_max.value / self.value, low, high, lambda_max.exact)

    def to_json(self, lambda_max: Mapping[str, Estimate]) -> dict[str, Any]:
        """Return what JSON documents say: the limit, how it follows, and λ_max of every block over it."""
        return {
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "formula": self.formula,
            "limit": self.value,
            "lambda_max_over_limit": {name: self.share(value).to_json() for name, value in lambda_max.items()},
        }


def limit_of(spectrum: Spectrum) -> StabilityLimit | None:
    """Return the limit for a spectrum's eigenvalues, as far as its checkpoint says how it was trained.

    Parameters
    ----------
    spectrum : Spectrum
        Of a Hessian, or of one preconditioned by Adam's state; of other matrices there is no limit.
    """
    if spectrum.curvature != "hessian":
        return None
    checkpoint = spectrum.checkpoint
    rate = stated_rate(checkpoint.optimizer, checkpoint.step, checkpoint.total_steps)
    return stability_limit(checkpoint.optimizer, rate, spectrum.preconditioner)


def stability_limit(
    optimizer: Mapping[str, Any], learning_rate: float | None, preconditioner: str = "none"
) -> StabilityLimit | None:
    """Return the largest stable eigenvalue; see the module's docstring.

    Parameters
    ----------
    optimizer : mapping
        What a checkpoint's metadata say: `name` and settings; nothing in it is trusted.
    learning_rate : float or None
        The rate now.
    preconditioner : str
        By which the matrix is preconditioned: "none" or "adam".

    Returns
    -------
    StabilityLimit or None
        None where the rate or a setting is not known, or the optimizer has no limit for this matrix.
    """
    name = optimizer.get("name")
    if learning_rate is None or not 1e-300 < learning_rate < 1e300:
        return None
    found = None
    if name == "sgd" and preconditioner == "none":
        found = _of_sgd(optimizer, learning_rate)
    elif name in _ADAM and preconditioner == "adam":
        found = _of_adam(optimizer, learning_rate)
    if found is None or found[0] <= 0.0:
        return None
    return StabilityLimit(*found, str(name), learning_rate)


def _of_sgd(optimizer: Mapping[str, Any], rate: float) -> tuple[float, str] | None:
    beta, damped, decay = (number(optimizer.get(key, 0.0)) for key in ("momentum", "dampening", "weight_decay"))
    nesterov = optimizer.get("nesterov", False)
    if beta is None or damped is None or decay is None or not isinstance(nesterov, bool):
        return None
    if not (0.0 <= beta < 1.0 and 0.0 <= damped < 1.0 and decay >= 0.0) or (nesterov and damped):
        return None
    if beta == 0.0:
        limit, formula = 2.0 / rate, "2/η"
    elif nesterov:
        limit, formula = 2.0 * (1.0 + beta) / ((1.0 + 2.0 * beta) * rate), "2(1 + β)/((1 + 2β)η)"
    else:
        # The first step of torch is not dampened, all others are.
        limit = 2.0 * (1.0 + beta) / ((1.0 - damped) * rate)
        formula = "2(1 + β)/((1 − τ)η)" if damped else "2(1 + β)/η"
    return limit - decay, formula + (" − w" if decay else "")


def _of_adam(optimizer: Mapping[str, Any], rate: float) -> tuple[float, str] | None:
    betas = optimizer.get("betas")
    beta = number(betas[0]) if isinstance(betas, list | tuple) and len(betas) == 2 else None
    if beta is None or not 0.0 <= beta < 1.0:
        return None
    return 2.0 * (1.0 + beta) / ((1.0 - beta) * rate), "2(1 + β₁)/((1 − β₁)η)"
