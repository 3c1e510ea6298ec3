"""From mini-batches of the samples at hand to those of the training: exact factors for draws without replacement.

Of M samples a training draws mini-batches of B without replacement.  With U_i the update by sample i alone, Ū their
mean and S² = Σ (U_i − Ū)²/(M − 1), two different samples of a mini-batch go together with covariance −S²/M, so

    Var U_b = (S²/B) (1 − B/M).

Here mini-batches come from N of the M samples, which were drawn without replacement too.  Given these, the variance
is s_N² = (S_N²/B) (1 − B/N) about their own mean Ū_N.  Over the choice of the N samples E[S_N²] = S², and so

    noise     E[s_N²] · (1 − B/M)/(1 − B/N) = Var U_b.

The mean has an error as well: E[Ū_N²] = Ū² + (S²/N) (1 − N/M), which is Ū² plus

    chance    (B/N) (1 − N/M)/(1 − B/N)  times  E[s_N²].

This is so where m in U = β₁ m + (1 − β₁) g does not depend on the choice.  Where m is the mean gradient of the same
N samples, the mean is Ū_N = m; what is sought is, at this m, β₁ m + (1 − β₁) times the mean gradient of all M.  Its
expected square is less than that of Ū_N by (1 − β₁²) times the variance of m, and the U_i have (1 − β₁)² times the
variance of the gradients: the chance is (1 + β₁)/(1 − β₁) times as large.

All of it is exact for each coordinate where the loss is a mean over samples, and 1 and 0 where N = M.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FiniteDraw:
    """What turns numbers of mini-batches of N samples into those of M; see the module's docstring.

    Attributes
    ----------
    noise : float
        Factor of the variance s².
    chance : float
        By how much μ² is too large on average, as a share of s² as drawn.
    """

    noise: float = 1.0
    chance: float = 0.0


AS_DRAWN = FiniteDraw()


def finite_draw(size: int, chosen: int, available: int, *, beta1_of_mean: float = 0.0) -> FiniteDraw:
    """Return the factors.

    Parameters
    ----------
    size, chosen, available : int
        B, N and M; B < N ≤ M.
    beta1_of_mean : float
        β₁, where m is the mean gradient of the chosen samples; else 0.
    """
    unseen = 1.0 - size / chosen
    moving = (1.0 + beta1_of_mean) / (1.0 - beta1_of_mean)
    return FiniteDraw(
        noise=(1.0 - size / available) / unseen,
        chance=moving * size / chosen * (1.0 - chosen / available) / unseen,
    )
