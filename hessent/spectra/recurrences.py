"""What sampling a block leaves: deflated pairs, the probes' Lanczos coefficients, and what groups of data add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outliers:
    """Eigenpairs that were deflated before probing, without their vectors.

    Attributes
    ----------
    values : Float64Array
        Ritz values of the deflated space, ascending. Shape (k,).
    residuals : Float64Array
        Norms ‖H v − θ v‖ of the unit Ritz vectors, in the unit of the eigenvalues. Shape (k,).
    """

    values: Float64Array  # (k,)
    residuals: Float64Array  # (k,)


@dataclass(frozen=True, eq=False)  # an array has no single truth value: two runs are equal if they are one object
class ProbeRuns:
    """Lanczos recurrences of p random probes, all of m steps, in the complement of the outliers.

    Attributes
    ----------
    alphas : Float64Array
        Diagonals of the tridiagonal matrices. Shape (p, m).
    betas : Float64Array
        Off-diagonals between step j and j + 1. Shape (p, m - 1).
    last_betas : Float64Array
        Norm of the residual vector after step m; zero when the recurrence closed. Shape (p,).
    simple : Float64Array or None
        Ritz values at which the Ritz vectors of all probes agree: simple eigenvalues of the complement. Shape (s,),
        ascending. None where the vectors were not compared.
    """

    alphas: Float64Array  # (p, m)
    betas: Float64Array  # (p, m - 1)
    last_betas: Float64Array  # (p,)
    simple: Float64Array | None = None  # (s,)

    @property
    def num_probes(self) -> int:
        """Number of probes p."""
        return int(self.alphas.shape[0])

    @property
    def num_steps(self) -> int:
        """Number of Lanczos steps m."""
        return int(self.alphas.shape[1])


@dataclass(frozen=True)
class ShorterSpectrum:
    """What the same probes of a joint Krylov space gave after fewer steps: it shows the quadrature's truncation.

    Attributes
    ----------
    outliers : Outliers
        Deflated pairs by then.
    probes : ProbeRuns
        Recurrences in their complement.
    """

    outliers: Outliers
    probes: ProbeRuns


@dataclass(frozen=True, eq=False)
class DataGroups:
    """What the groups of the data contribute to a block's curvature, for the delete-a-group jackknife.

    H = Σ_G n_G H_G / N, with H_G the mean curvature over the n_G items of group G. Either `left_out` is present, or
    `probes` (and `outliers`, where k > 0): projections of every H_G on the spaces in which H was measured.

    Attributes
    ----------
    items : NDArray[np.int64]
        Items (samples, or valid tokens) n_G of each group. Shape (g,).
    sampled_fraction : float
        N divided by the size of the finite population the data was drawn from; 0 for an unlimited one.
    left_out : Float64Array or None
        All eigenvalues, ascending, of the curvature without group G, (N H − n_G H_G) / (N − n_G). Shape (g, n).
    outliers : Float64Array or None
        Vᵀ H_G V with V the vectors of the deflated space, or of that after fewer steps (k is then another than that
        of the block), in any one order. Shape (g, k, k).
    probes : Float64Array or None
        Bᵀ H_G B with B the first m' Krylov vectors of each of the first p' probes. Shape (g, p', m', m').
    traces : Float64Array or None
        tr H_G, where it is known exactly. Shape (g,).
    """

    items: NDArray[np.int64]  # (g,)
    sampled_fraction: float = 0.0
    left_out: Float64Array | None = None  # (g, n)
    outliers: Float64Array | None = None  # (g, k, k)
    probes: Float64Array | None = None  # (g, p', m', m')
    traces: Float64Array | None = None  # (g,)

    @property
    def num_groups(self) -> int:
        """Number of groups g."""
        return len(self.items)
