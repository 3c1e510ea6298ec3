"""Block Lanczos: one Krylov space grown from several probes at once, with full orthogonalisation.

The block V_1 spans the b start vectors.  Each step multiplies the current block.  The image of V_j lies in the span
of V_{j−1}, V_j and what is new; the first two are taken out in float64.  What is left, orthonormalised, still has
components of about 1e-5 along the whole basis Q = [V_1 … V_j], rounding of the products in the direction of the
largest eigenvalues; one pass over Q takes them out, and the rows that remain are the next block.  T = Qᵀ H Q is
kept whole.  A Ritz pair (θ, Q y) has the residual ‖B y_last‖, with B the coupling between the last block and what
is left of its images.

The joint space holds the Krylov space of every single probe, so it resolves everything that lockstep recurrences of
the same probes would, and far more eigenpairs converge in it than in any of them: up to b copies of each.

A block loses rank where its images depend on each other or on the basis; it goes on narrower, and ends where
nothing is left: the space is then invariant.

References
----------
G. H. Golub and R. Underwood, "The block Lanczos method for computing eigenvalues", in *Mathematical Software III*,
1977.
T. Chen, *Lanczos Algorithms for Matrix Functions*, 2024, chapter on block methods.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.operator import Product
from hessent.eigensolver.overflow import Overflow
from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import SavedState, StateReader, numpy_dtype
from hessent.eigensolver.vector_store import VectorStore

Float64Array = NDArray[np.float64]

_CLOSING = 8  # roundings of the largest image that count as nothing left
_GENUINE = 0.5  # norm that a unit vector must keep beside the basis to count as new
_LITTLE_TAKEN = 0.9  # norm that it keeps where one pass does
_SAME_STARTS = 1e-5  # relative difference between inner products of start vectors that rounding may cause


class BlockLanczos:
    """A block Krylov space that can be made larger.

    Parameters
    ----------
    starts : Tensor
        Start vectors as rows, shape (b, n).
    dtype : torch.dtype
        Precision of the products and of stored vectors; T and all small matrices are float64.
    group_steps : int
        Blocks on whose space the data groups are projected.
    memory : int, optional
        Bytes for the basis on the device of the start vectors; None for no limit.
    overflow : Overflow, optional
        What the basis may take beyond.

    Attributes
    ----------
    basis : VectorStore
        The basis Q: M rows of length n, in storage precision.
    matrix : Float64Array
        T = Qᵀ H Q of the blocks multiplied so far, shape (M, M).
    groups : Float64Array or None
        Qᵀ H_G Q on the leading blocks for every data group, shape (g, M', M'); None where products come without.
    coupling : Float64Array
        What H takes out of the space: H Q − Q T = V_nextᵀ coupling, shape (r, M).
    starts : Float64Array
        Coefficients of the start vectors in the first block, shape (b, r_1).
    """

    def __init__(
        self,
        starts: Tensor,
        *,
        dtype: torch.dtype,
        group_steps: int,
        memory: int | None = None,
        overflow: Overflow | None = None,
    ) -> None:
        self._group_steps = group_steps
        self.matrix: Float64Array = np.zeros((0, 0))
        self.groups: Float64Array | None = None
        self._epsilon = _CLOSING * torch.finfo(dtype).eps
        self._scale = 0.0
        self.basis = VectorStore(
            starts.shape[1], dtype=dtype, device=starts.device, memory=memory, overflow=overflow
        )
        largest = float(starts.double().norm(dim=1).max())
        self._block, coefficients, _ = self._orthonormal(starts.double(), largest)
        self.starts = coefficients.T.copy()
        self.coupling: Float64Array = np.zeros((len(self._block), 0))

    @property
    def num_matvecs(self) -> int:
        """Products so far."""
        return len(self.matrix)

    @property
    def num_steps(self) -> int:
        """Blocks multiplied so far."""
        return len(self.basis.blocks)

    @property
    def resolution(self) -> float:
        """What the space cannot tell from zero, in the unit of the eigenvalues.

        Rounding of the stored vectors; in a space that closed, the couplings that counted as nothing.
        """
        return (self._epsilon if self.closed else self._epsilon / _CLOSING) * self._scale

    def size_after(self, num_steps: int) -> int:
        """Return the dimension M of the space after `num_steps` steps."""
        return sum(self.basis.blocks[:num_steps])

    def leading(self, size: int) -> tuple[Float64Array, Float64Array]:
        """Return T (M', M') of the leading `size` basis vectors, and what couples them to the rest (r', M')."""
        if size == len(self.basis):
            return self.matrix, self.coupling
        return self.matrix[:size, :size], self.matrix[size:, :size]

    @property
    def next_block(self) -> Tensor:
        """Orthonormal rows (r, n) that H leads to from the space; none once it is closed."""
        return self._block

    @property
    def closed(self) -> bool:
        """Whether the space is invariant: it cannot be made larger."""
        return len(self._block) == 0

    def extend(self, num_steps: int) -> Products[None]:
        """Multiply up to `num_steps` further blocks.

        Yields
        ------
        Tensor
            The current block, shape (n, r).
        """
        for _ in range(num_steps):
            if self.closed:
                return
            self._step((yield self._block.double().T))

    def saved_state(self) -> SavedState:
        """Return all there is to go on from, but for the start vectors."""
        small = {
            "matrix": self.matrix,
            "coupling": self.coupling,
            "starts": self.starts,
            "next_block": self._block.cpu().numpy(),
            "scale": np.array([self._scale]),
        }
        if self.groups is not None:
            small["groups"] = self.groups
        return SavedState(small) | self.basis.saved_state().within("basis")

    def restore(self, state: StateReader) -> None:
        """Go on from a saved state of a space of the same start vectors, in a space that has taken no step.

        Raises
        ------
        ValueError
            If it is one of other start vectors, or of another precision.
        """
        rank, size = self._block.shape
        starts = state.array("starts", self.starts.shape)
        inner, expected = starts @ starts.T, self.starts @ self.starts.T
        if np.abs(inner - expected).max() > _SAME_STARTS * np.abs(expected).max():
            raise ValueError("the saved Krylov space belongs to other start vectors")
        self.basis.restore(state.within("basis"), most_at_once=rank)
        dimension = len(self.basis)
        block = state.array("next_block", (None, size), numpy_dtype(self.basis.dtype))
        if dimension > size or len(block) > rank:
            raise ValueError(f"{dimension} vectors and {len(block)} more of length {size} cannot be independent")
        self.matrix = state.array("matrix", (dimension, dimension))
        self.coupling = state.array("coupling", (len(block), dimension))
        self._scale = state.number("scale")
        self._block, self.starts = torch.tensor(block, device=self._block.device), starts
        if state.holds("groups"):
            projected = self.size_after(self._group_steps)
            self.groups = state.array("groups", (None, projected, projected))

    def _step(self, product: Product) -> None:
        added = len(self._block)
        self.basis.append(self._block)
        images = product.total.T.double()
        if product.groups is not None and self.num_steps <= self._group_steps:
            self._border_groups(product.groups)
        largest = float(images.norm(dim=1).max())
        # Divided by their size, so that no vector over- or underflows in the precision of the basis.
        size = largest if largest > 0.0 else 1.0
        images = images / size
        left, near = _beside(self.basis.last(added + sum(self.basis.blocks[-2:-1])), images)
        self._scale = max(self._scale, largest)
        block = self._block
        self._block, coupling, columns = self._orthonormal(left, self._scale / size)
        columns[:, len(self.basis) - near.shape[1] :] += near
        self._border(columns * size, (block.double() @ images.T).cpu().numpy() * size)
        self.coupling = np.zeros((len(self._block), len(self.basis)))
        self.coupling[:, len(self.basis) - added :] = coupling * size

    def _border(self, columns: Float64Array, within: Float64Array) -> None:
        """Add the images' coefficients (r, M) to T; those within the block (r, r) come in full float64."""
        size, added = len(self.basis), len(columns)
        before = size - added
        grown = np.zeros((size, size))
        grown[:before, :before] = self.matrix
        grown[before:, :before] = columns[:, :before]
        grown[:before, before:] = columns[:, :before].T
        grown[before:, before:] = (within + within.T) / 2
        self.matrix = grown

    def _border_groups(self, groups: Tensor) -> None:
        count, size, added = groups.shape
        below = groups.transpose(1, 2).reshape(count * added, size)  # one pass over the basis for all
        projected = self.basis.coefficients(below).double().cpu().numpy()
        columns = projected.reshape(count, added, len(self.basis)).transpose(0, 2, 1)  # (g, M, r)
        before = len(self.basis) - added
        grown = np.zeros((count, len(self.basis), len(self.basis)))
        if self.groups is not None:
            grown[:, :before, :before] = self.groups
        grown[:, :, before:] = columns
        grown[:, before:, :before] = columns[:, :before].transpose(0, 2, 1)
        within = columns[:, before:]
        grown[:, before:, before:] = (within + within.transpose(0, 2, 1)) / 2
        self.groups = grown

    def _orthonormal(self, vectors: Tensor, scale: float) -> tuple[Tensor, Float64Array, Float64Array]:
        """Return orthonormal rows (r, n) that span `vectors` (b, n) beyond the basis and rounding.

        The vectors are what is left of images of size one, `scale` the largest image so far in that unit.  With the
        rows come their coefficients (r, b) in the vectors, and the vectors' (b, M) in the basis.
        """
        q, triangle = torch.linalg.qr(vectors.T)
        left, singular, right = torch.linalg.svd(triangle, full_matrices=False)
        wanted = singular > self._epsilon * scale
        rows, along = self._beyond_basis((q @ left[:, wanted]).T)
        in_basis: Float64Array = (right[wanted].T * singular[wanted]).cpu().numpy() @ along
        rows = rows.to(self.basis.dtype)
        return rows, (rows.double() @ vectors.T).cpu().numpy(), in_basis

    def _beyond_basis(self, rows: Tensor) -> tuple[Tensor, Float64Array]:
        """Orthogonalise unit rows (r, n) against the basis; return their coefficients (r, M) in it too.

        What mostly lies in the basis was rounding and is dropped.  What a pass leaves of the basis is rounding of
        what it took: only where that was much does a second one follow.
        """
        rows, along = self._one_pass(rows)
        squares, mixing = torch.linalg.eigh(rows @ rows.T)
        kept = squares > _GENUINE**2
        rows = (mixing[:, kept] / squares[kept].sqrt()).T @ rows
        if bool((squares[kept] < _LITTLE_TAKEN**2).any()):
            rows, _ = self._one_pass(rows)
        return rows, along

    def _one_pass(self, rows: Tensor) -> tuple[Tensor, Float64Array]:
        """Take the basis out of rows (r, n): what is left, and the coefficients (r, M). The basis is read twice."""
        coefficients = self.basis.coefficients(rows)
        return rows - self.basis.combine(coefficients).double(), coefficients.double().cpu().numpy()


def _beside(near: Tensor, images: Tensor) -> tuple[Tensor, Float64Array]:
    """Take the vectors `near` (m, n) out of images (r, n), twice: what is left, and the coefficients (r, m)."""
    near = near.double()
    first = images @ near.T
    left = images - first @ near
    second = left @ near.T
    return left - second @ near, (first + second).cpu().numpy()
