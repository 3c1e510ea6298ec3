"""Groups of probes that joined one after the other, each with the steps that it is to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.eigensolver.krylov_spaces import KrylovSpaces
from hessent.eigensolver.lanczos import LockstepLanczos
from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import SavedState, StateReader
from hessent.spectra.recurrences import ProbeRuns

Float64Array = NDArray[np.float64]

# Longer vectors are not reorthogonalised: it would cost as much as the products, and with the outliers projected
# out it changes nothing that the intervals could see.
_REORTHOGONALISED = 20_000
_MOST = 2**31  # probes or steps, beyond which numbers of a state are nonsense


@dataclass
class _Group:
    """Probes in lockstep, the number of the first of them, and the steps they are to take."""

    first: int
    probes: LockstepLanczos
    goal: int


class ProbeGroups:
    """Recurrences of probes in the complement of the outliers.

    What is to be done is settled at once, by goals; `reach_goals` does it, from wherever the recurrences stand.

    Parameters
    ----------
    size : int
        Length n of a vector.
    draw : callable
        Given how many and the number of the first, returns start vectors as rows.
    room : int
        Vectors that may be kept.
    dtype : torch.dtype
        Precision of the products.
    """

    def __init__(self, size: int, draw: Callable[[int, int], Tensor], *, room: int, dtype: torch.dtype) -> None:
        self._draw, self._room, self._dtype = draw, room, dtype
        self._reorthogonalise = size <= _REORTHOGONALISED
        self._groups: list[_Group] = []
        self._drawn = 0

    @property
    def num_probes(self) -> int:
        """Number of probes."""
        return sum(group.probes.num_probes for group in self._groups)

    @property
    def num_steps(self) -> int:
        """Steps of the longest recurrence."""
        return max((group.probes.num_steps for group in self._groups), default=0)

    @property
    def closed(self) -> bool:
        """Whether no recurrence can be made longer."""
        return all(group.probes.closed for group in self._groups)

    @property
    def pending_matvecs(self) -> int:
        """Products to the goals, at most."""
        return sum(
            (group.goal - group.probes.num_steps) * group.probes.num_probes
            for group in self._groups
            if not group.probes.closed
        )

    def clear(self) -> None:
        """Forget all probes; later ones are others."""
        self._groups = []

    def add(self, count: int, steps: int, outliers: Tensor) -> None:
        """Let `count` further probes take `steps` steps in the complement of the outliers."""
        keep = (self.num_probes + count) * steps <= self._room
        self._groups.append(_Group(self._drawn, self._begin(self._drawn, count, outliers, keep=keep), steps))
        self._drawn += count

    def lengthen(self, steps: int) -> None:
        """Let every probe take `steps` further steps."""
        for group in self._groups:
            group.goal = group.probes.num_steps + steps

    def outgrown_by(self, steps: int) -> bool:
        """Whether the vectors kept and those of so many further steps are more than there is room for."""
        return self.num_probes * (self.num_steps + steps) > self._room or not self._reorthogonalise

    def drop_vectors(self) -> None:
        """Keep no earlier vectors any more."""
        for group in self._groups:
            group.probes.drop_basis()

    def reach_goals(self) -> Products[None]:
        """Take the steps that are still to be taken."""
        for group in self._groups:
            yield from group.probes.extend(group.goal - group.probes.num_steps)

    def spaces(self) -> KrylovSpaces | None:
        """Return the recurrences with all their vectors; None where they are not kept."""
        rows: list[Tensor] = []
        length = self.num_steps
        for group in self._groups:
            kept = group.probes.basis_rows
            if kept is None or (group.probes.num_steps < length and not group.probes.closed):
                return None
            # A closed recurrence has zeros for its further vectors.
            rows += list(torch.nn.functional.pad(kept, (0, 0, 0, length + 1 - kept.shape[1])))
        return KrylovSpaces(self.runs(), rows) if rows else None

    def runs(self) -> ProbeRuns:
        """Coefficients of all recurrences; those that closed early are padded with zeros."""
        parts = [group.probes.runs() for group in self._groups]
        length = max(part.num_steps for part in parts)
        padded = [
            (
                np.pad(part.alphas, ((0, 0), (0, length - part.num_steps))),
                np.pad(np.column_stack([part.betas, part.last_betas]), ((0, 0), (0, length - part.num_steps))),
            )
            for part in parts
        ]
        alphas = np.concatenate([alpha for alpha, _ in padded])
        betas = np.concatenate([beta for _, beta in padded])
        return ProbeRuns(alphas=alphas, betas=betas[:, :-1], last_betas=betas[:, -1])

    def data_groups(self) -> Float64Array | None:
        """Return the data groups' projections (g, p', m', m') of probes that have as many as the first of them."""
        found = (group.probes.group_projections() for group in self._groups)
        parts = [part for part in found if part is not None]
        alike = [part for part in parts if part.shape[2] == parts[0].shape[2]]
        return np.concatenate(alike, axis=1) if alike else None

    def saved_state(self) -> SavedState:
        """Return the recurrences as they stand, and their goals."""
        rows = [
            (group.first, group.probes.num_probes, group.goal, group.probes.basis_rows is not None)
            for group in self._groups
        ]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 4)
        state = SavedState({"drawn": np.array([self._drawn]), "table": table})
        for group in self._groups:
            # No later probes have that number: what was saved of these is never taken for them.
            state |= group.probes.saved_state().within(f"from{group.first}")
        return state

    def restore(self, state: StateReader, outliers: Tensor | None, *, data_groups: int) -> None:
        """Go on from a saved state, where there are no probes yet; ValueError if it does not fit."""
        self._drawn = state.count("drawn", 0, _MOST)
        table = state.counts("table", 0, _MOST, (None, 4))
        before = 0
        for first, count, goal, keep in zip(*(table[column::4] for column in range(4)), strict=True):
            if outliers is None or count < 1 or not before <= first <= self._drawn - count:
                raise ValueError(f"probes {first} to {first + count} of {self._drawn} cannot come after {before}")
            before = first + count
            probes = self._begin(first, count, outliers, keep=keep > 0)
            probes.restore(state.within(f"from{first}"), data_groups=data_groups)
            if probes.num_steps > goal:
                raise ValueError(f"{probes.num_steps} steps were taken where {goal} were the goal")
            self._groups.append(_Group(first, probes, goal))

    def _begin(self, first: int, count: int, outliers: Tensor, *, keep: bool) -> LockstepLanczos:
        return LockstepLanczos(
            self._draw(count, first),
            outliers,
            dtype=self._dtype,
            keep_basis=keep,
            reorthogonalise=self._reorthogonalise,
        )
