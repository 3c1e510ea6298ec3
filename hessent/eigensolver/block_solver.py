"""The spectrum of one block: a cheap first look, then work until the tolerance or the budget is met.

Small blocks are formed exactly.  Larger ones are sampled: in one joint Krylov space of all probes where its vectors
find room, in memory or in a file, else with outliers first and probes beside them.  Where the trace alone is asked
for, Hutch++ takes the place of both.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.eigensolver.data_groups import groups_of_formed
from hessent.eigensolver.deflated_route import DeflatedRoute
from hessent.eigensolver.deflated_sampling import DeflatedSampling
from hessent.eigensolver.dense import form_matrix
from hessent.eigensolver.joint_sampling import JointSampling
from hessent.eigensolver.requests import Products
from hessent.eigensolver.settings import (
    FIRST_PROBES,
    LEAST_ROOM,
    LOOK_STEPS,
    SolverSettings,
    is_exact,
    is_joint,
    sampled_matvecs,
)
from hessent.eigensolver.trace_only import estimate_trace
from hessent.eigensolver.widths import widths
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
    ) -> None:
        self.name = name
        self.size = size
        self.exact = is_exact(settings, size, spent)
        self.spectrum: BlockSpectrum | None = None
        self.width = math.inf
        self._settings = settings
        self._dtype = dtype
        self._device = torch.device(device)
        self._items = group_items
        self._sampled_fraction = sampled_fraction
        self._empty = BlockSpectrum(
            name, size, parameters, "lanczos", spent, False, "not finished", noise, noise_floor=noise_floor
        )
        self._route: JointSampling | DeflatedRoute | None = None

    @property
    def wants_groups(self) -> bool:
        """Whether the next product is of use with the data groups' contributions."""
        if self._items is None or self._settings.only_trace:
            return False
        return not isinstance(self._route, JointSampling) or self._route.wants_groups

    def planned_matvecs(self) -> int:
        """Products expected for the whole block (the first instalment, for a sampled one)."""
        if self.exact:
            return self.size
        return sampled_matvecs(self._settings, self.size, self._empty.num_matvecs)

    def first_look(self) -> Products[None]:
        """Get a first estimate with few products; a block as small as that is finished at once."""
        if self.exact and self.size <= FIRST_PROBES * LOOK_STEPS:
            yield from self._solve_exactly()
        elif not self.exact and not self._settings.only_trace:
            self._route = self._begin()
            yield from self._route.first_look()

    def finish(self) -> Products[None]:
        """Compute the block to the requested tolerance, or to the end of its budget."""
        if self.spectrum is not None and self.spectrum.converged:
            return
        if self.exact:
            yield from self._solve_exactly()
        elif self._settings.only_trace:
            yield from self._estimate_trace()
        else:
            route = self._route or self._begin()
            yield from route.finish()
            self._route = None  # its vectors are not needed any more

    def stop(self, status: str) -> None:
        """Record why the block was left as it is."""
        if self.spectrum is not None and not self.spectrum.converged:
            self.spectrum = replace(self.spectrum, status=status)

    def _begin(self) -> JointSampling | DeflatedRoute:
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
        )
        return DeflatedRoute(
            state,
            self._settings,
            size=self.size,
            spent=self._empty.num_matvecs,
            room=room,
            publish=self._publish,
        )

    def _solve_exactly(self) -> Products[None]:
        groups = 0 if self._items is None else len(self._items)
        formed = yield from form_matrix(
            self.size,
            device=self._device,
            keep_groups=(3 + groups) * 8 * self.size**2 <= self._settings.basis_memory,
        )
        spectrum = replace(
            self._empty,
            method="exact",
            num_matvecs=self._empty.num_matvecs + self.size,
            converged=True,
            status="exact",
            eigenvalues=formed.eigenvalues(),
            groups=None
            if self._items is None
            else groups_of_formed(formed, self._items, self._sampled_fraction, seed=self._settings.seed),
        )
        self._publish(spectrum)

    def _estimate_trace(self) -> Products[None]:
        limit = self._settings.max_matvecs
        result = yield from estimate_trace(
            self.size,
            seed=self._settings.seed,
            key=f"{self.name}/trace",
            rtol=self._settings.rtol,
            budget=None if limit is None else limit - self._empty.num_matvecs,
            room=max(self._settings.reach(self.size, torch.finfo(self._dtype).bits // 8), LEAST_ROOM),
            dtype=self._dtype,
            device=self._device,
            memory=self._settings.basis_memory,
            overflow=self._settings.overflow,
        )
        spectrum = replace(
            self._empty,
            method="hutch++",
            num_matvecs=self._empty.num_matvecs + result.num_matvecs,
            converged=result.converged,
            status=result.status,
            trace_estimates=result.estimates,
        )
        self._publish(spectrum)

    def _publish(self, spectrum: BlockSpectrum) -> None:
        self.spectrum = spectrum
        finished = spectrum.converged or self._settings.only_trace
        self.width = 0.0 if finished else widths(spectrum).total
