"""What the Krylov spaces of several probes tell beside their recurrences, without a product.

**Simple eigenvalues.**  Where the Ritz vectors of all probes agree at a converged Ritz value, the eigenvalue is
simple; where they differ, several eigenvectors share it and each probe shows its own mixture.
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
from hessent.spectra.recurrences import ProbeRuns

Float64Array = NDArray[np.float64]

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

    def _ritz(self, probe: int) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Ritz values (j,), coefficients of the Ritz vectors (j, j) and residuals (j,) of one probe."""
        betas = np.append(self.runs.betas[probe], self.runs.last_betas[probe])
        length = steps_taken(betas)
        nodes, vectors = eigh_tridiagonal(self.runs.alphas[probe, :length], betas[: length - 1])
        residuals: Float64Array = betas[length - 1] * np.abs(vectors[-1])
        return np.asarray(nodes, np.float64), np.asarray(vectors, np.float64), residuals


def _mixed(coefficients: Float64Array, rows: Tensor) -> Tensor:
    """Combine rows (≥ j, n) by the columns of `coefficients` (j, c): shape (c, n), float64."""
    mixing = torch.as_tensor(coefficients.T.copy(), dtype=rows.dtype, device=rows.device)
    return (mixing @ rows[: len(coefficients)]).double()
