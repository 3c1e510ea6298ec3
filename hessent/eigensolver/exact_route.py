"""A small block, formed whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.eigensolver.data_groups import groups_of_formed
from hessent.eigensolver.dense import FormingMatrix
from hessent.eigensolver.gradient_along import GradientVector, along_eigenvectors
from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import SavedState, StateReader
from hessent.eigensolver.settings import FIRST_PROBES, LOOK_STEPS, SolverSettings
from hessent.spectra.model import BlockSpectrum


class ExactRoute:
    """All columns of a block, then all its eigenvalues.

    Parameters
    ----------
    empty : BlockSpectrum
        Name, size and everything else that does not depend on the products.
    settings : SolverSettings
        Memory and seed.
    publish : callable
        Told the spectrum.
    device : torch.device
        Where products are computed.
    group_items : NDArray[np.int64] or None
        Items of each data group, shape (g,); None where products come without groups.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.
    gradient_vector : callable, optional
        Returns the gradient by the block's parameters, shape (n,).
    """

    wants_groups = True

    def __init__(
        self,
        empty: BlockSpectrum,
        settings: SolverSettings,
        publish: Callable[[BlockSpectrum], None],
        *,
        device: torch.device,
        group_items: NDArray[np.int64] | None,
        sampled_fraction: float,
        gradient_vector: GradientVector | None = None,
    ) -> None:
        self._empty, self._publish = empty, publish
        self._seed = settings.seed
        self._items, self._sampled_fraction = group_items, sampled_fraction
        self._gradient_vector = gradient_vector
        self._num_groups = 0 if group_items is None else len(group_items)
        keep_groups = (3 + self._num_groups) * 8 * empty.size**2 <= settings.basis_memory
        self._forming = FormingMatrix(empty.size, device=device, keep_groups=keep_groups)

    def remaining_matvecs(self) -> int:
        """Columns that are not formed yet."""
        return self._empty.size - self._forming.num_columns

    def first_look(self) -> Products[None]:
        """Finish a block that costs no more than the first look at another."""
        if self._empty.size <= FIRST_PROBES * LOOK_STEPS:
            yield from self.finish()

    def finish(self) -> Products[None]:
        """Form the block and find its eigenvalues."""
        formed = yield from self._forming.form()
        groups = None
        if self._items is not None:
            groups = groups_of_formed(formed, self._items, self._sampled_fraction, seed=self._seed)
        gradient = self._empty.gradient
        if gradient is None or self._gradient_vector is None:
            eigenvalues = formed.eigenvalues()
        else:
            eigenvalues, gradient = along_eigenvectors(formed.total, gradient, self._gradient_vector())
        self._publish(
            replace(
                self._empty,
                method="exact",
                num_matvecs=self._empty.num_matvecs + self._empty.size,
                converged=True,
                status="exact",
                eigenvalues=eigenvalues,
                gradient=gradient,
                groups=groups,
            )
        )

    def saved_state(self) -> SavedState | None:
        """Return the columns formed so far; None before the first."""
        return self._forming.saved_state() if self._forming.num_columns else None

    def restore(self, state: StateReader) -> None:
        """Go on from a saved state; ValueError if it does not fit."""
        self._forming.restore(state, num_groups=self._num_groups)
