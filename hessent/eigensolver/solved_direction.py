"""The direction (F + δI)^-1 g of a curvature F beside H, and what the quadratic model of H says along it.

u = −(F + δI)^-1 g comes from a Lanczos run of F started at g (or from F formed); b = −g·u and c = u·Hu are taken
from the vector itself, with one product with H: exact for the u at hand.  What an unclosed run of F leaves out is
told by b and c of the vectors that four fifths and half of its steps give, two columns more in that product.

While θ ← θ − a (F + δI)^-1 H (θ − θ*) is iterated, a component of it shrinks if and only if a μ < 2, for the
eigenvalues μ > 0 of (F + δI)^-½ H (F + δI)^-½.  Where both matrices were formed, `pair_eigenvalues` has them all;
`pair_reach` is a lower bound of the largest from the converged eigenvectors V of H, for a product with F each: the
largest eigenvalue of VᵀHV x = μ (VᵀFV + δI) x (Rayleigh and Ritz).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.gradient_space import GradientSpace
from hessent.measures.closed_steps import inverse
from hessent.measures.step_along import StepAlong

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class SolvedDirection:
    """u = −(F + δI)^-1 g.

    Attributes
    ----------
    vector : Tensor
        u, shape (n,), float64.
    along : StepAlong
        D, d·Hd and the best step size for d = a·u.
    """

    vector: Tensor  # (n,)
    along: StepAlong


def solved_direction(
    space: GradientSpace, hessian: SymmetricOperator, gradient: Tensor, damping: float
) -> SolvedDirection:
    """Return the direction by the space of F, multiplied once with H.

    Parameters
    ----------
    space : GradientSpace
        Of F, started at the gradient.
    hessian : SymmetricOperator
        H.
    gradient : Tensor
        g, shape (n,).
    damping : float
        δ, in the unit of the eigenvalues of F.
    """
    function = inverse(damping)
    columns = -torch.stack([space.apply(function), *space.earlier(function)], dim=1)
    images = hessian.matmat(columns.to(hessian.dtype)).double()
    slopes = -(gradient.to(columns) @ columns)
    curvatures = (columns * images).sum(dim=0)
    along = StepAlong(slopes.cpu().numpy(), curvatures.cpu().numpy(), "exact" if space.closed else "estimate")
    return SolvedDirection(columns[:, 0], along)


def pair_eigenvalues(space: GradientSpace, hessian: GradientSpace, damping: float) -> Float64Array:
    """Return the eigenvalues of (F + δI)^-½ H (F + δI)^-½, ascending, shape (n,), both matrices formed.

    Raises
    ------
    ValueError
        If one of the spaces is not all of it.
    """
    if not (space.quadrature.complete and hessian.quadrature.complete):
        raise ValueError("both matrices have to be known whole")
    roots = torch.as_tensor(inverse(damping, 0.5)(space.values))
    places = np.arange(space.size)
    turned = (space.vectors(places).T @ hessian.vectors(places)).cpu()
    matrix = roots[:, None] * ((turned * torch.as_tensor(hessian.values)) @ turned.T) * roots
    return np.asarray(torch.linalg.eigvalsh((matrix + matrix.T) / 2).numpy())


def pair_reach(fisher: SymmetricOperator, hessian: GradientSpace, damping: float, most: int) -> float | None:
    """Return a lower bound of the largest eigenvalue μ; None where no pair of H has converged.

    Parameters
    ----------
    fisher : SymmetricOperator
        F.
    hessian : GradientSpace
        Of H.
    damping : float
        δ.
    most : int
        Eigenvectors of H, each of which costs a product.
    """
    values, vectors, _ = hessian.converged(most)
    if len(values) == 0:
        return None
    images = fisher.matmat(vectors.to(fisher.dtype)).double()
    metric = (vectors.T @ images).cpu().numpy()
    metric = (metric + metric.T) / 2 + damping * np.eye(len(values))
    found = scipy.linalg.eigvalsh(np.diag(values), metric)
    return float(found[-1])
