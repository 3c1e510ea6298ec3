"""Ritz pairs with their vectors: the space that is deflated, and how it is made larger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.eigensolver.basis import project_out
from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import SavedState, StateReader, grown_rows, numpy_dtype

Float64Array = NDArray[np.float64]

RESIDUAL_TOLERANCE = 1e-2  # a Ritz pair counts as converged when its residual is below this share of abs(θ)


@dataclass(frozen=True)
class RitzPairs:
    """Ritz pairs of a search, all of them.

    Attributes
    ----------
    values : Float64Array
        Ritz values, by falling abs(θ). Shape (j,).
    residuals : Float64Array
        Norms ‖H v − θ v‖. Shape (j,).
    vectors : Tensor
        Orthonormal Ritz vectors as rows, in the order of `values`. Shape (j, n).
    num_matvecs : int
        Products spent.
    groups : Float64Array or None
        Vᵀ H_G V for the mean curvature of every data group, shape (g, j, j).
    """

    values: Float64Array  # (j,)
    residuals: Float64Array  # (j,)
    vectors: Tensor  # (j, n)
    num_matvecs: int
    groups: Float64Array | None = None  # (g, j, j)

    def saved_state(self, version: int) -> SavedState:
        """Return the pairs; `version` tells their vectors from those of other pairs."""
        small = {
            "values": self.values,
            "residuals": self.residuals,
            "num_matvecs": np.array([self.num_matvecs]),
        }
        if self.groups is not None and len(self.values) > 0:
            small["groups"] = self.groups
        return SavedState(small, {f"vectors{version}": grown_rows(self.vectors)})

    @property
    def num_converged(self) -> int:
        """Length of the leading run of converged pairs, counted by falling abs(θ)."""
        return leading_converged(self.values, self.residuals)

    def leading(self, count: int) -> RitzPairs:
        """Return the `count` pairs of largest abs(θ)."""
        groups = None if self.groups is None else self.groups[:, :count, :count].copy()
        return RitzPairs(
            self.values[:count], self.residuals[:count], self.vectors[:count].clone(), self.num_matvecs, groups
        )


def restored_pairs(state: StateReader, version: int, like: Tensor, *, data_groups: int) -> RitzPairs:
    """Return the pairs of a saved state, with vectors like the rows (·, n) given; ValueError if they do not fit."""
    values, size = state.array("values", (None,)), like.shape[1]
    count = len(values)
    if count > size:
        raise ValueError(f"{count} vectors of length {size} cannot be independent")
    vectors = like.new_empty(count, size)
    rows = state.rows(f"vectors{version}", [1] * count, (size,), numpy_dtype(like.dtype))
    for index, row in enumerate(rows):
        vectors[index] = torch.from_numpy(row[0])
    return RitzPairs(
        values,
        state.array("residuals", (count,)),
        vectors,
        state.count("num_matvecs", 0, 2**62),
        state.array("groups", (data_groups, count, count)) if data_groups and count else None,
    )


def leading_converged(values: Float64Array, residuals: Float64Array) -> int:
    """Return the length of the leading run of converged Ritz values, given by falling abs(θ)."""
    failing = np.flatnonzero(residuals > RESIDUAL_TOLERANCE * np.abs(values))
    return int(failing[0]) if len(failing) else len(values)


def by_magnitude(matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return eigenvalues by falling abs, shape (j,), and the eigenvectors as columns (j, j)."""
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], vectors[:, order]


def absorb(found: RitzPairs, candidates: Tensor) -> Products[RitzPairs]:
    """Add directions that a search missed (further copies of multiple eigenvalues) to the deflated space.

    A Rayleigh–Ritz step on the part of the candidates orthogonal to what was found.

    Parameters
    ----------
    found : RitzPairs
        Pairs deflated so far.
    candidates : Tensor
        Approximate eigenvectors as rows, shape (c, n).

    Yields
    ------
    Tensor
        The orthonormalised candidates, shape (n, c').

    Returns
    -------
    RitzPairs
        The enlarged set, by falling abs(θ), with its products added.
    """
    dtype = found.vectors.dtype
    fresh = project_out(project_out(candidates.double(), found.vectors), found.vectors)
    singular, right = torch.linalg.svd(fresh, full_matrices=False)[1:]
    # Directions that were mostly found already carry nothing but rounding.
    rows = right[singular > 0.1]
    if len(rows) == 0:
        return found
    product = yield rows.to(dtype).double().T
    images = product.total.T.double()
    projected = (rows @ images.T).cpu().numpy()
    values, vectors = by_magnitude((projected + projected.T) / 2)
    mixing = torch.as_tensor(vectors.T.copy(), device=rows.device)
    theta = torch.as_tensor(values, device=rows.device)[:, None]
    ritz = mixing @ rows
    residuals = (mixing @ images - theta * ritz).norm(dim=1).cpu().numpy()
    good = residuals <= RESIDUAL_TOLERANCE * np.abs(values)
    all_values = np.concatenate([found.values, values[good]])
    order = np.argsort(-np.abs(all_values), kind="stable")
    vectors_found = torch.cat([found.vectors, ritz.to(dtype)[torch.as_tensor(good)]])[torch.as_tensor(order)]
    groups = None
    if found.groups is not None and product.groups is not None:
        images_of_groups = torch.einsum("gnc,dc->gnd", product.groups.double(), mixing[torch.as_tensor(good)])
        groups = _with_rows(found, ritz[torch.as_tensor(good)], images_of_groups)[:, order][:, :, order]
    return RitzPairs(
        values=all_values[order],
        residuals=np.concatenate([found.residuals, residuals[good]])[order],
        vectors=vectors_found,
        num_matvecs=found.num_matvecs + rows.shape[0],
        groups=groups,
    )


def _with_rows(found: RitzPairs, rows: Tensor, images: Tensor) -> Float64Array:
    """Border the groups' matrices by rows W (c, n) with images H_G W (g, n, c): shape (g, k + c, k + c)."""
    assert found.groups is not None
    beside = torch.einsum("kn,gnc->gkc", found.vectors.double(), images).cpu().numpy()
    within = torch.einsum("dn,gnc->gdc", rows, images).cpu().numpy()
    corner = (within + within.transpose(0, 2, 1)) / 2
    return np.block([[found.groups, beside], [beside.transpose(0, 2, 1), corner]])
