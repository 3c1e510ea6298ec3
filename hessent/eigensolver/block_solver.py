"""The spectrum of one block: a cheap first look, then work until the tolerance or the budget is met.

Small blocks are formed exactly.  Larger ones are sampled: in one joint Krylov space of all probes where its vectors
find room, in memory or in a file, else with outliers first and probes beside them.  Where the trace alone is asked
for, Hutch++ takes the place of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.eigensolver.deflated_route import DeflatedRoute
from hessent.eigensolver.deflated_sampling import DeflatedSampling
from hessent.eigensolver.exact_route import ExactRoute
from hessent.eigensolver.gradient_along import GradientVector
from hessent.eigensolver.joint_sampling import JointSampling
from hessent.eigensolver.requests import Products
from hessent.eigensolver.route import Route
from hessent.eigensolver.saved_state import Array, SavedState, StateReader
from hessent.eigensolver.semidefinite import require_semidefinite
from hessent.eigensolver.settings import LEAST_ROOM, SolverSettings, is_exact, is_joint, sampled_matvecs
from hessent.eigensolver.trace_route import TraceRoute
from hessent.eigensolver.widths import widths
from hessent.spectra.gradients import BlockGradient
from hessent.spectra.model import BlockSpectrum


class BlockSolver:
    """Computes one block's spectrum by asking for products.

    Parameters
    ----------
    name : str
        Block name; part of the seed of its probes.
    parameters : tuple of str
        Parameter tensors of the block.
    size : int
        Number of parameters n.
    settings : SolverSettings
        Tolerance and budget.
    dtype : torch.dtype
        Precision of the products.
    device : torch.device or str
        Where vectors live.
    noise : float
        Relative noise of the products, from the operator's check.
    noise_floor : float
        Root mean square eigenvalue of that noise, in the unit of the eigenvalues.
    spent : int
        Products already spent on the block.
    group_items : NDArray[np.int64], optional
        Items of each data group, shape (g,), where products come with the groups' contributions.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.
    semidefinite : bool
        Whether the block can have no negative eigenvalue: one beyond the products' noise is then an error.
    gradient : BlockGradient, optional
        The gradient by the block's parameters, reduced: it goes into the spectrum.
    gradient_vector : callable, optional
        Returns that gradient itself, shape (n,), where its components along eigenvectors are wanted.
    formed : callable, optional
        Returns the spectrum without a product, from what it has in common with any other of the block, and from
        `gradient_vector`.

    Attributes
    ----------
    spectrum : BlockSpectrum or None
        The latest result; refined as the solver proceeds.
    width : float
        Its relative half-width: infinite while there is none, 0 for a finished one.
    """

    def __init__(
        self,
        name: str,
        parameters: tuple[str, ...],
        size: int,
        settings: SolverSettings,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        noise: float = 0.0,
        noise_floor: float = 0.0,
        spent: int = 0,
        group_items: NDArray[np.int64] | None = None,
        sampled_fraction: float = 0.0,
        semidefinite: bool = False,
        gradient: BlockGradient | None = None,
        gradient_vector: GradientVector | None = None,
        formed: Callable[[BlockSpectrum, GradientVector | None], BlockSpectrum] | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.exact = formed is not None or is_exact(settings, size, spent)
        self.spectrum: BlockSpectrum | None = None
        self.width = math.inf
        self._settings = settings
        self._dtype = dtype
        self._device = torch.device(device)
        self._items = group_items
        self._sampled_fraction = sampled_fraction
        self._empty = BlockSpectrum(
            name,
            size,
            parameters,
            "lanczos",
            spent,
            False,
            "not finished",
            noise,
            noise_floor=noise_floor,
            semidefinite=semidefinite,
            gradient=gradient,
        )
        self._gradient_vector = None if gradient is None else gradient_vector
        self._formed = formed
        self._route: Route | None = None
        self._finished = False

    @property
    def wants_groups(self) -> bool:
        """Whether the next product is of use with the data groups' contributions."""
        if self._items is None or self._settings.only_trace:
            return False
        return self._route is None or self._route.wants_groups

    def planned_matvecs(self) -> int:
        """Products expected from here on (up to the end of the first instalment, for a sampled block)."""
        if self._finished or self._formed is not None:
            return 0
        if self._route is not None:
            return self._route.remaining_matvecs()
        if self.exact:
            return self.size
        return sampled_matvecs(self._settings, self.size, self._empty.num_matvecs)

    def first_look(self) -> Products[None]:
        """Get a first estimate with few products; a block as small as that is finished at once."""
        if self._formed is not None:
            self._publish(self._formed(self._empty, self._gradient_vector))
            self._finished = True
            return
        self._route = self._route or self._begin()
        yield from self._route.first_look()
        self._release_if(self.spectrum is not None and self.spectrum.converged)

    def finish(self) -> Products[None]:
        """Compute the block to the requested tolerance, or to the end of its budget."""
        if self._finished:
            return
        if self._formed is not None:
            yield from self.first_look()
            return
        self._route = self._route or self._begin()
        yield from self._route.finish()
        self._release_if(True)

    def saved_state(self) -> SavedState | None:
        """Return all there is to go on from, while the solver waits for a product or for its next stage.

        Returns
        -------
        SavedState or None
            None where nothing would be lost: before the first product, and when the spectrum is finished.
        """
        return None if self._route is None else self._route.saved_state()

    def restore(self, small: Mapping[str, Array], grown: Mapping[str, Iterable[Array]]) -> None:
        """Go on from a saved state, in a solver that was made with the same arguments and has done nothing.

        Both stages follow as usual.  The spectrum that they end with is that of a solver which was never
        interrupted, bit for bit, and no product is asked for that the state holds.

        Parameters
        ----------
        small : mapping of str to array
            Those of the saved state.
        grown : mapping of str to iterable of arrays
            Rows of each of its names, all of them, in pieces (r, ...).

        Raises
        ------
        ValueError
            If the state is damaged or one of another solver; this one is as it was.
        ComputationError
            If its vectors go to a file and the disk is full.
        """
        route, state = self._begin(), StateReader(small, grown)
        route.restore(state)
        state.require_all_read()
        self._route = route

    def stop(self, status: str) -> None:
        """Record why the block was left as it is."""
        if self.spectrum is not None and not self.spectrum.converged:
            self.spectrum = replace(self.spectrum, status=status)

    def _begin(self) -> Route:
        if self.exact:
            return ExactRoute(
                self._empty,
                self._settings,
                self._publish,
                device=self._device,
                group_items=self._items,
                sampled_fraction=self._sampled_fraction,
                gradient_vector=self._gradient_vector,
            )
        if self._settings.only_trace:
            return TraceRoute(self._empty, self._settings, self._publish, dtype=self._dtype, device=self._device)
        itemsize = torch.finfo(self._dtype).bits // 8
        if is_joint(self._settings, self.size, itemsize):
            return JointSampling(
                self._empty,
                self._settings,
                self._publish,
                dtype=self._dtype,
                device=self._device,
                group_items=self._items,
                sampled_fraction=self._sampled_fraction,
                gradient_vector=self._gradient_vector,
            )
        room = max(self._settings.room(self.size, itemsize), LEAST_ROOM)
        state = DeflatedSampling(
            self._empty,
            seed=self._settings.seed,
            room=room,
            dtype=self._dtype,
            device=self._device,
            group_items=self._items,
            sampled_fraction=self._sampled_fraction,
            gradient_vector=self._gradient_vector,
        )
        return DeflatedRoute(
            state,
            self._settings,
            size=self.size,
            spent=self._empty.num_matvecs,
            room=room,
            publish=self._publish,
        )

    def _release_if(self, finished: bool) -> None:
        """Let go of the vectors of a finished block: they are not needed any more."""
        if finished:
            self._route, self._finished = None, True

    def _publish(self, spectrum: BlockSpectrum) -> None:
        if spectrum.semidefinite:
            require_semidefinite(spectrum, self._dtype)
        self.spectrum = spectrum
        finished = spectrum.converged or self._settings.only_trace
        self.width = 0.0 if finished else widths(spectrum).total
