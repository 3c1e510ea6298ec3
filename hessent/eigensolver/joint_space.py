"""From a block Krylov space to outliers and probe runs, by small dense algebra alone.

Every converged Ritz pair of the joint space is deflated: its eigenvalue is known, so it enters each measure with
the weight 1 instead of the random weight a probe would give it.  What is left of each probe beside them is
isotropic in their complement, and a scalar Lanczos recurrence of it, run on T, gives the same coefficients as a
recurrence with the matrix itself would.

**Multiplicity.**  From b probes at most b copies of an eigenvalue come out.  A cluster of fewer is whole.  A
cluster of b or more may have further members, on which the probes have no component left once the found ones are
deflated: it is left to the probes, whose random weights count all members without bias, and reported as a lower
bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from hessent.measures.quadrature import CONVERGED
from hessent.spectra.probe_space import ProbeSpace
from hessent.spectra.recurrences import Outliers, ProbeRuns

Float64Array = NDArray[np.float64]

_ISOLATED = 10.0  # residuals that separate a Ritz pair from its neighbours; with fewer, mixtures pass for vectors
_SAME = 1e-6  # relative distance below which two Ritz values are copies, however small their residuals
_CLUSTER = 1e-2  # relative width up to which a crowd of Ritz values is one cluster and not a piece of the bulk
_GUARD_TAIL = 1e-7  # a mass that one eigenvalue exceeds this rarely is taken for several; some 200 are looked at
_CLOSING = 1e-12  # a coefficient this small beside the largest ends a recurrence in float64


@dataclass(frozen=True)
class JointSpectrum:
    """What a joint space tells about the spectrum.

    Attributes
    ----------
    outliers : Outliers
        Deflated pairs, ascending, k of them.
    runs : ProbeRuns
        Recurrences of the b probes in the complement.
    lambda_max, lambda_min : tuple of float
        Extreme Ritz values with their residuals.
    whole : bool
        Whether no cluster may have further copies.
    space : ProbeSpace
        All Ritz values, and the components of the probes along the Ritz vectors.
    outlier_vectors : Float64Array
        Coefficients of the deflated Ritz vectors in the basis Q, shape (M, k).
    probe_vectors : Float64Array
        Coefficients of the probes' Krylov vectors in the basis Q, shape (b, M, m).
    ritz_values, ritz_residuals : Float64Array
        All Ritz pairs, ascending, shape (M,).
    ritz_vectors : Float64Array
        Coefficients of all Ritz vectors in the basis Q, shape (M, M).
    """

    outliers: Outliers
    runs: ProbeRuns
    lambda_max: tuple[float, float]
    lambda_min: tuple[float, float]
    whole: bool
    space: ProbeSpace
    outlier_vectors: Float64Array
    probe_vectors: Float64Array
    ritz_values: Float64Array
    ritz_residuals: Float64Array
    ritz_vectors: Float64Array

    def projected(self, groups: Float64Array, *, probes: int, steps: int) -> tuple[Float64Array, Float64Array]:
        """Project group matrices Qᵀ H_G Q (g, M, M) on the outliers and on the first steps of the first probes.

        Returns
        -------
        tuple of Float64Array
            Shapes (g, k, k) and (g, p', m', m').
        """
        outliers = self.outlier_vectors.T @ groups @ self.outlier_vectors
        bases = self.probe_vectors[:probes, :, :steps]
        return outliers, np.stack([basis.T @ groups @ basis for basis in bases], axis=1)


def joint_spectrum(
    matrix: Float64Array, coupling: Float64Array, starts: Float64Array, *, size: int, num_steps: int
) -> JointSpectrum:
    """Read a joint space.

    Parameters
    ----------
    matrix : Float64Array
        T = Qᵀ H Q, shape (M, M).
    coupling : Float64Array
        What H takes out of the space, shape (r, M).
    starts : Float64Array
        Coefficients of the b start vectors in the first block, shape (b, r_1).
    size : int
        Number of parameters n.
    num_steps : int
        Steps m of the block recurrence.

    Returns
    -------
    JointSpectrum
    """
    values, vectors = np.linalg.eigh(matrix)
    residuals = np.linalg.norm(coupling @ vectors, axis=0)
    padding = np.zeros((len(values) - starts.shape[1], len(starts)))
    along = vectors.T @ np.concatenate([starts.T, padding])  # (M, b)
    components = along / np.linalg.norm(along, axis=0)
    masses = size * (components**2).sum(axis=1)
    deflated, whole = _deflated(values, residuals, masses, len(starts))
    # One dimension at least is left to the probes.
    if deflated.sum() >= size:
        deflated[np.argmin(np.abs(values))] = False
    rest = ~deflated
    outside = coupling @ vectors[:, rest]
    rounding = float(np.finfo(np.float64).eps * np.abs(values).max())
    recurrences = [_recurrence(values[rest], outside, start, num_steps, rounding) for start in along[rest].T]
    return JointSpectrum(
        outliers=Outliers(values[deflated], residuals[deflated]),
        runs=ProbeRuns(
            alphas=np.array([alphas for alphas, _, _ in recurrences]),
            betas=np.array([betas[:-1] for _, betas, _ in recurrences]),
            last_betas=np.array([betas[-1] for _, betas, _ in recurrences]),
            # No Ritz value of a probe is known to be simple: those that are have been deflated.
            simple=np.zeros(0),
        ),
        lambda_max=(float(values[-1]), float(residuals[-1])),
        lambda_min=(float(values[0]), float(residuals[0])),
        whole=whole,
        space=ProbeSpace(values, components.T.copy()),
        outlier_vectors=vectors[:, deflated],
        probe_vectors=np.stack([vectors[:, rest] @ basis for _, _, basis in recurrences]),
        ritz_values=values,
        ritz_residuals=residuals,
        ritz_vectors=vectors,
    )


def _deflated(
    values: Float64Array, residuals: Float64Array, masses: Float64Array, num_probes: int
) -> tuple[NDArray[np.bool_], bool]:
    """Return which Ritz pairs (ascending) are deflated, and whether no cluster was held back for its size.

    A Ritz vector strays into its neighbours by residual over distance, so pairs nearer than ten residuals are one
    cluster: in a dense bulk, where each stands for several eigenvalues, the chain of them is long, and deflating it
    would bias the trace.  `masses` are n times the squared components along the b unit probes, summed: χ² with b
    degrees of freedom for a simple eigenvalue.
    """
    converged = residuals <= CONVERGED * np.abs(values)
    crowded = masses > chdtri(num_probes, _GUARD_TAIL)
    # How far an unconverged pair strays says nothing of its neighbours.
    reach = np.where(converged, np.maximum(_ISOLATED * residuals, _SAME * np.abs(values)), 0.0)
    linked = np.diff(values) <= np.maximum(reach[1:], reach[:-1])
    deflated = np.zeros(len(values), dtype=bool)
    whole = True
    ends = np.append(np.flatnonzero(~linked) + 1, len(values))
    for first, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        members = slice(int(first), int(end))
        if not converged[members].all():
            continue
        size = np.abs(values[members]).max()
        if size <= _CLOSING * np.abs(values).max():
            continue  # zero is no outlier: nobody asks for all its copies
        if end - first < num_probes and not crowded[members].any():
            deflated[members] = True
        elif values[end - 1] - values[first] <= _CLUSTER * size:
            whole = False
    return deflated, whole


def _recurrence(
    values: Float64Array, outside: Float64Array, start: Float64Array, num_steps: int, rounding: float
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Scalar Lanczos on diag(values), orthogonalised twice: alphas (m,), betas (m,), vectors (M, m).

    What H takes out of the joint space, `outside` @ q, counts in the last β alone: no earlier vector leaves it.
    A β below `rounding`, that of the whole spectrum, ends the recurrence.
    """
    alphas, betas = np.zeros(num_steps), np.zeros(num_steps)
    basis = np.zeros((len(values), num_steps))
    norm = float(np.linalg.norm(start))
    closing = max(_CLOSING * float(np.abs(values).max(initial=0.0)), rounding)
    if norm <= _CLOSING:
        return alphas, betas, basis
    current = start / norm
    for step in range(num_steps):
        basis[:, step] = current
        image = values * current
        alphas[step] = float(current @ image)
        kept = basis[:, : step + 1]
        image = image - kept @ (kept.T @ image)
        image = image - kept @ (kept.T @ image)
        beta = float(np.linalg.norm(image))
        if step == num_steps - 1:
            beta = float(np.hypot(beta, np.linalg.norm(outside @ current)))
        if beta <= closing:
            break
        betas[step] = beta
        current = image / beta
    return alphas, betas, basis
