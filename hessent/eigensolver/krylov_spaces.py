"""What the Krylov spaces of several probes tell beside their recurrences, without a product.

**Traces.**  For probe i let Q span the Krylov spaces of all the others.  Q is independent of probe i, so

    t_i = Σ outliers + tr(Qᵀ H Q) + (d − rank Q) · (v'ᵀ H v') / (v'ᵀ v'),   v' = (I − Q Qᵀ) v_i,

is an unbiased estimate of the trace, as in XTrace, with the variance of what Q leaves.  All of it follows from the
Gram matrix of the stored vectors, because H B_i = B_i T_i + β q eᵀ is known.

**Simple eigenvalues.**  Where the Ritz vectors of all probes agree at a converged Ritz value, the eigenvalue is
simple; where they differ, several eigenvectors share it and each probe shows its own mixture.

References
----------
E. N. Epperly, J. A. Tropp and R. J. Webber, "XTrace: making the most of every sample in stochastic trace estimation",
SIAM J. Matrix Anal. Appl. 45, 2024 (the exchangeable leave-one-out estimate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from hessent.measures.quadrature import CONVERGED, common_isolated, gauss_rules, steps_taken
from hessent.spectra.model import ProbeRuns

Float64Array = NDArray[np.float64]

_DEPENDENT = 1e-4  # eigenvalues of a Gram matrix below this are directions the other vectors have already
_AGREEING = 0.02  # mean squared sine between the Ritz vectors of a simple eigenvalue, at most


@dataclass(frozen=True)
class KrylovSpaces:
    """Recurrences of p probes with all their vectors.

    Attributes
    ----------
    runs : ProbeRuns
        Coefficients, p probes of m steps.
    rows : sequence of Tensor
        Vectors of all steps and the next one per probe, each (m + 1, n).
    """

    runs: ProbeRuns
    rows: Sequence[Tensor]

    def missed(self, threshold: float) -> Tensor | None:
        """Return the Ritz vectors, shape (c, n), of converged Ritz values of magnitude above `threshold`."""
        found = []
        for probe, rows in enumerate(self.rows):
            nodes, vectors, residuals = self._ritz(probe)
            wanted = (np.abs(nodes) > threshold) & (residuals <= CONVERGED * np.abs(nodes))
            if wanted.any():
                found.append(_mixed(vectors[:, wanted], rows))
        return torch.cat(found) if found else None

    def simple(self) -> Float64Array:
        """Return the Ritz values, ascending, at which the converged Ritz vectors of all probes agree."""
        matches = common_isolated(gauss_rules(self.runs, self.runs.num_steps))
        if not matches:
            return np.zeros(0)
        values, vectors = [], []
        for probe, rows in enumerate(self.rows):
            nodes, coefficients, _ = self._ritz(probe)
            indices = [match[probe] for match in matches]
            values.append(nodes[indices])
            vectors.append(_mixed(coefficients[:, indices], rows))
        stacked = torch.stack(vectors, dim=1)  # (matches, p, n)
        stacked = stacked / stacked.norm(dim=2, keepdim=True)
        largest = torch.linalg.eigvalsh(stacked @ stacked.transpose(1, 2))[:, -1].cpu().numpy()
        agreeing = 1 - largest / len(self.rows) <= _AGREEING
        return np.sort(np.mean(values, axis=0)[agreeing])

    def traces(self, size: int, outliers: Float64Array) -> Float64Array | None:
        """Return the estimates t_i of the block's trace, shape (p,).

        Parameters
        ----------
        size : int
            Number of parameters n of the block.
        outliers : Float64Array
            Eigenvalues of the deflated space, shape (k,).

        Returns
        -------
        Float64Array or None
            None for fewer than two probes, or where the other probes leave a probe nothing to see.
        """
        if len(self.rows) < 2:
            return None
        gram, images = self._gram_matrices()
        steps = self.runs.num_steps
        found = []
        for probe in range(len(self.rows)):
            others = np.ones(len(gram), dtype=bool)
            others[probe * steps : (probe + 1) * steps] = False
            first = probe * steps
            values, vectors = np.linalg.eigh(gram[np.ix_(others, others)])
            kept = values > _DEPENDENT
            whitening = vectors[:, kept] / np.sqrt(values[kept])
            projected = whitening.T @ images[np.ix_(others, others)] @ whitening
            part = whitening.T @ gram[others, first]
            image = whitening.T @ images[others, first]
            left = gram[first, first] - float(part @ part)
            if left <= _DEPENDENT:
                return None
            quotient = (images[first, first] - 2 * float(part @ image) + float(part @ projected @ part)) / left
            rest = size - len(outliers) - int(kept.sum())
            found.append(float(outliers.sum()) + float(np.trace(projected)) + rest * quotient)
        return np.array(found)

    def _gram_matrices(self) -> tuple[Float64Array, Float64Array]:
        """Return BᵀB and BᵀHB of all vectors of all probes, each (p·m, p·m)."""
        steps = self.runs.num_steps
        every = torch.cat([rows[: steps + 1] for rows in self.rows])
        gram = (every @ every.T).double().cpu().numpy().reshape(len(self.rows), steps + 1, len(self.rows), steps + 1)
        images = np.empty((len(self.rows), steps, len(self.rows), steps))
        betas = np.column_stack([self.runs.betas, self.runs.last_betas])
        for probe in range(len(self.rows)):
            # H B_j = B_j T_j + β q eᵀ, with zeros for all that lies beyond the end of a closed recurrence.
            tridiagonal = np.zeros((steps + 1, steps))
            tridiagonal[np.arange(steps), np.arange(steps)] = self.runs.alphas[probe]
            tridiagonal[np.arange(1, steps + 1), np.arange(steps)] = betas[probe]
            tridiagonal[np.arange(steps - 1), np.arange(1, steps)] = betas[probe, :-1]
            images[:, :, probe] = gram[:, :steps, probe] @ tridiagonal
        width = len(self.rows) * steps
        images = images.reshape(width, width)
        return gram[:, :steps, :, :steps].reshape(width, width), (images + images.T) / 2

    def _ritz(self, probe: int) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Ritz values (j,), coefficients of the Ritz vectors (j, j) and residuals (j,) of one probe."""
        betas = np.append(self.runs.betas[probe], self.runs.last_betas[probe])
        length = steps_taken(betas)
        nodes, vectors = eigh_tridiagonal(self.runs.alphas[probe, :length], betas[: length - 1])
        return nodes, vectors, betas[length - 1] * np.abs(vectors[-1])


def _mixed(coefficients: Float64Array, rows: Tensor) -> Tensor:
    """Combine rows (≥ j, n) by the columns of `coefficients` (j, c): shape (c, n), float64."""
    mixing = torch.as_tensor(coefficients.T.copy(), dtype=rows.dtype, device=rows.device)
    return (mixing @ rows[: len(coefficients)]).double()
