"""What a PAC-Bayes bound was computed from and came to, as one record."""

from __future__ import annotations

from dataclasses import dataclass

from hessent.estimate import Estimate


@dataclass(frozen=True)
class GibbsBound:
    """A bound on the Gibbs classifier around a checkpoint, beside what was measured of it.

    Attributes
    ----------
    checkpoint, data : str
        Names.
    samples : int
        N: those that the Hessian and the empirical losses are of.
    parameters : int
        n.
    norm_squared : float
        ‖θ‖². Exact.
    kl : Estimate
        KL(Q‖P) in nats at the chosen s². Exact where the Hessian was formed.
    sigma2 : float
        The chosen s².
    delta : float
        Probability that the bound may fail.
    draws : int
        Weights drawn from Q for the losses.
    steps : int
        Lanczos steps of each draw.
    draw_error : float
        Relative change of a draw over the last fifth of the steps: an estimate of what is missing.
    train_01, test_01 : float or None
        Share of wrong answers of the weights θ themselves: exact. None where there is no test split.
    gibbs_train_01, gibbs_train_clipped, gibbs_test_01 : Estimate
        Of the Gibbs classifier, with 95 % intervals over draws.
    bound_01, bound_clipped : Estimate
        Bounds on its expected loss: of 0/1, and of the cross-entropy cut off at 1 nat.  The value is the bound.
    clamped_mass : Estimate
        Share of Σ abs(λ) on negative eigenvalues.
    paper_corrected, paper_printed : Estimate
        The paper's bracket, halved, in nats, in place of the KL.
    test_samples : int or None
        Of the test split.
    spectrum : str or None
        The file the spectrum was read from; None where it was measured.
    synthetic : bool
        Whether the data is made up.
    cautions : tuple of str
        Sentences.
    """

    checkpoint: str
    data: str
    samples: int
    parameters: int
    norm_squared: float
    kl: Estimate
    sigma2: float
    delta: float
    draws: int
    steps: int
    draw_error: float
    train_01: float
    test_01: float | None
    gibbs_train_01: Estimate
    gibbs_train_clipped: Estimate
    gibbs_test_01: Estimate
    bound_01: Estimate
    bound_clipped: Estimate
    clamped_mass: Estimate
    paper_corrected: Estimate
    paper_printed: Estimate
    test_samples: int | None
    spectrum: str | None
    synthetic: bool = False
    cautions: tuple[str, ...] = ()
