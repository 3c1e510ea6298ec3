"""A matrix that is positive semidefinite by what it is must not show a negative eigenvalue."""

from __future__ import annotations

import torch

from hessent.errors import ComputationError
from hessent.spectra.model import BlockSpectrum

_ROUNDINGS = 100.0  # of the products; GGN and Fisher matrices of trained nets showed less than 0.01 of one
_FLOORS = 10.0  # of noise: the largest eigenvalue of a symmetric matrix of noise is twice its root mean square


def require_semidefinite(block: BlockSpectrum, dtype: torch.dtype) -> None:
    """Refuse a spectrum with an eigenvalue below zero by more than the products' noise explains.

    Parameters
    ----------
    block : BlockSpectrum
        Of a matrix declared positive semidefinite.
    dtype : torch.dtype
        Of its products.

    Raises
    ------
    ComputationError
        Naming block, eigenvalue and what is allowed.
    """
    if block.eigenvalues is not None:
        values = [float(block.eigenvalues[0]), float(block.eigenvalues[-1])]
    else:
        values = [] if block.outliers is None else block.outliers.values.tolist()
        values += [found[0] for found in (block.lambda_min, block.lambda_max) if found is not None]
    least, largest = min(values, default=0.0), max(map(abs, values), default=0.0)
    relative = max(block.noise, torch.finfo(dtype).eps)
    allowed = _ROUNDINGS * relative * largest + _FLOORS * block.noise_floor
    if least < -allowed:
        raise ComputationError(
            f"block '{block.name}' has the eigenvalue {least:.3g}, but its matrix is positive semidefinite",
            expected=f"none below {-allowed:.1g}, which the noise of the products explains",
            fix="for ggn: a loss that is convex in the model's outputs, or --curvature hessian; --dtype float64",
        )
