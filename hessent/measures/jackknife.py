"""The delete-a-group jackknife: how much a number would change with other data, and how far it is biased.

With groups of n_j of N items, h_j = N/n_j, θ the number for all data and θ₋j without group j (the delete-m_j
jackknife of Busing, Meijer and van der Leeden):

    corrected  θ_J = g θ − Σ (1 − n_j/N) θ₋j,
    pseudo-values  θ̃_j = h_j θ − (h_j − 1) θ₋j,      variance  (1/g) Σ (θ̃_j − θ_J)² / (h_j − 1).

For equal groups it is the usual (g − 1)/g Σ (θ₋j − mean)².  Drawn from a finite population of which a share f was
used, the standard error shrinks by √(1 − f) and the bias by 1 − f: with all of it, there is neither.

References
----------
F. M. T. A. Busing, E. Meijer and R. van der Leeden, "Delete-m jackknife for unequal m", Statistics and Computing 9,
1999.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hessent.measures.replicates import t_quantile

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Jackknife:
    """Error of a number that stems from the choice of the data, in its unit.

    Attributes
    ----------
    error : float
        Standard error.
    bias : float
        By how much the number exceeds its population value on average.
    half_width : float
        Standard error times the 97.5 % quantile of Student's t with g − 1 degrees of freedom.
    """

    error: float
    bias: float
    half_width: float


def jackknife(values: Float64Array, items: NDArray[np.int64], *, sampled_fraction: float = 0.0) -> Jackknife:
    """Estimate the error of a number from its values without each group.

    Parameters
    ----------
    values : Float64Array
        The number for all data, then without each group. Shape (g + 1,), g ≥ 2.
    items : NDArray[np.int64]
        Items of each group. Shape (g,).
    sampled_fraction : float
        Share of a finite population that the data are; 0 for an unlimited one.
    """
    whole, left_out = float(values[0]), values[1:]
    count, shares = len(left_out), items / items.sum()
    corrected = count * whole - float(((1.0 - shares) * left_out).sum())
    pseudo = whole / shares - (1.0 / shares - 1.0) * left_out
    variance = float(((pseudo - corrected) ** 2 / (1.0 / shares - 1.0)).mean())
    unseen = max(1.0 - sampled_fraction, 0.0)
    error = math.sqrt(variance * unseen)
    return Jackknife(error, (whole - corrected) * unseen, t_quantile(count) * error)
