"""K-FAC among the curvatures: what it approximates, and how positions that share a weight are treated by default.

Measured against exact Gauss-Newton blocks (medians over layers; `tests/benchmarks/kfac_nearness.py` prints them):

    expand | reduce              gap, nats       distance        trace, ln       Frobenius norm
    CNN on digits, trained       1.08 | 0.32     0.39 | 0.21     0.06 | 1.07     0.80 | 0.89
    attention, trained           0.90 | 0.53     0.34 | 0.19     0.38 | 0.14     0.85 | 0.82
    ViT, start                   0.97 | 0.01     0.06 | 0.01     0.02 | 0.03     0.86 | 0.19
    ViT, half trained            1.21 | 0.31     0.12 | 0.06     0.25 | 1.12     0.90 | 0.95
    ResNet18, start              0.88 | 0.56     0.24 | 0.14     0.07 | 0.79     0.84 | 0.87
    ResNet18, trained            1.78 | 0.67     0.47 | 0.09     0.24 | 0.92     0.93 | 0.92
    GPT, trained, next token     0.55 | 0.86     0.17 | 0.24     0.11 | 1.17     0.74 | 0.79

(abs(gap difference); Jensen–Shannon distance of the spectra; abs(ln of the trace ratio); error over norm.)  With a
label per sample, `reduce` is nearer in the shape of the spectrum everywhere, `expand` mostly in its trace.  With a
label at every position `expand` is nearer in all but the largest eigenvalue.  So it goes by the loss.
"""

from __future__ import annotations

from typing import Any

from hessent.curvature.losses.loss import Loss
from hessent.curvature.losses.softmax_losses import NextToken
from hessent.curvature.matrices.kinds import GaussNewton
from hessent.errors import UsageError
from hessent.spectra.kronecker import APPROXIMATIONS

KFAC = "kfac"


class KroneckerFactored(GaussNewton):
    """K-FAC: the Gauss-Newton matrix with a Kronecker product for each layer; products are those of the original.

    Parameters
    ----------
    approximation : str or None
        `expand` or `reduce`; None leaves it to the loss.
    draws : int or None
        Random square roots per sample; None for the exact ones, where a sample has few outputs.
    loss : Loss
        Of the problem.

    Raises
    ------
    UsageError
        If there is no such approximation.
    """

    name = KFAC

    def __init__(self, approximation: str | None, draws: int | None, loss: Loss) -> None:
        if approximation is None:
            approximation = APPROXIMATIONS[0] if isinstance(loss, NextToken) else APPROXIMATIONS[1]
        elif approximation not in APPROXIMATIONS:
            raise UsageError(f"--kfac-approx {approximation}", expected=" or ".join(APPROXIMATIONS))
        self.approximation = approximation
        self.draws = draws
        self.definition = f"A ⊗ G for each layer of the Gauss-Newton matrix, {approximation}"

    @property
    def reduces(self) -> bool:
        """Whether positions are averaged and summed first."""
        return self.approximation == "reduce"

    def as_settings(self) -> dict[str, Any]:
        """Return what a file says of it."""
        own = {**super().as_settings(), "kfac_approx": self.approximation}
        return own if self.draws is None else {**own, "fisher_samples": self.draws}
