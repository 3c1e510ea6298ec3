"""A block sampled with few vectors in memory: outliers first, then probes one beside the other in their complement.

What to do next is decided elsewhere (`deflated_solver`); here it is done: search for outliers, add probes, lengthen
recurrences, take in what the search missed.  Every product is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.eigensolver.krylov_spaces import KrylovSpaces
from hessent.eigensolver.lanczos import LockstepLanczos
from hessent.eigensolver.outliers import RESIDUAL_TOLERANCE, OutlierSearch, RitzPairs, absorb
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import Products
from hessent.measures.quadrature import gauss_rules
from hessent.spectra.model import BlockSpectrum, DataGroups, Outliers, ProbeRuns

Float64Array = NDArray[np.float64]

_FRESH_DIRECTIONS = 16
_SEARCH_INSTALMENT = 20
# Probes whose spaces the data groups are projected on; more changed nothing on small trained nets.
_GROUP_PROBES = 6
# Longer vectors are not reorthogonalised: it would cost as much as the products, and with the outliers projected
# out it changes nothing that the intervals could see.
_REORTHOGONALISED = 20_000


class DeflatedSampling:
    """Outliers and probes of one block.

    Parameters
    ----------
    empty : BlockSpectrum
        Name, size and everything else that does not depend on the sampling.
    seed : int
        Seed of all start vectors.
    room : int
        Vectors that fit in the memory allowed.
    dtype : torch.dtype
        Precision of the products.
    device : torch.device
        Where vectors live.
    group_items : NDArray[np.int64] or None
        Items of each data group, shape (g,); None where products come without groups.
    sampled_fraction : float
        Share of a finite population that the data is; 0 for an unlimited one.

    Attributes
    ----------
    matvecs : int
        Products asked for so far.
    pairs : RitzPairs or None
        The deflated space.
    """

    def __init__(
        self,
        empty: BlockSpectrum,
        *,
        seed: int,
        room: int,
        dtype: torch.dtype,
        device: torch.device,
        group_items: NDArray[np.int64] | None,
        sampled_fraction: float,
    ) -> None:
        self.matvecs = 0
        self.pairs: RitzPairs | None = None
        self._empty = empty
        self._size = empty.size
        self._seed = seed
        self._room = room
        self._dtype = dtype
        self._device = device
        self._items = group_items
        self._sampled_fraction = sampled_fraction
        self._searched: list[tuple[float, float]] = []  # (value, residual) of every Ritz pair of the search
        self._search: OutlierSearch | None = None
        self._recurrences: list[LockstepLanczos] = []
        self._drawn = 0
        self._simple: Float64Array | None = None

    @property
    def num_probes(self) -> int:
        """Number of probes."""
        return sum(group.num_probes for group in self._recurrences)

    @property
    def num_steps(self) -> int:
        """Steps of the longest recurrence."""
        return max((group.num_steps for group in self._recurrences), default=0)

    @property
    def closed(self) -> bool:
        """Whether no recurrence can be made longer."""
        return all(group.closed for group in self._recurrences)

    def search(self, num_steps: int, more: Callable[[OutlierSearch], bool]) -> Products[None]:
        """Find outliers with `num_steps` products, and with further instalments for as long as `more` says so.

        A search that was begun is gone on with; probes that ran beside its fewer outliers are forgotten.
        """
        self._recurrences, self._simple = [], None
        if self._search is None:
            self._search = OutlierSearch(
                self._vectors("outliers", 1)[0],
                basis_limit=self._room // 2,
                dtype=self._dtype,
                fresh=self._vectors("fresh", _FRESH_DIRECTIONS),
            )
        search = self._search
        before = search.num_matvecs
        yield from search.extend(min(num_steps, self._size) - before)
        while more(search):
            yield from search.extend(_SEARCH_INSTALMENT)
        found = search.pairs()
        self.matvecs += found.num_matvecs - before
        self._searched = list(zip(found.values.tolist(), found.residuals.tolist(), strict=True))
        # Half of the space at least is left to the probes.
        self.pairs = found.leading(min(found.num_converged, self._size // 2))

    def add_probes(self, count: int, steps: int) -> Products[None]:
        """Start `count` further probes and take `steps` steps with them."""
        assert self.pairs is not None
        group = LockstepLanczos(
            self._vectors("probe", count, self._drawn),
            self.pairs.vectors,
            dtype=self._dtype,
            keep_basis=(self.num_probes + count) * steps <= self._room // 2,
            reorthogonalise=self._size <= _REORTHOGONALISED,
        )
        self._drawn += count
        self._recurrences.append(group)
        yield from self._extend(group, steps)

    def lengthen(self, steps: int) -> Products[None]:
        """Take `steps` further steps with every probe."""
        if self.num_probes * (self.num_steps + steps) > self._room // 2 or self._size > _REORTHOGONALISED:
            self._compare_spaces()  # it needs the vectors that are about to go
            for group in self._recurrences:
                group.drop_basis()
        for group in self._recurrences:
            yield from self._extend(group, steps)

    def missed(self) -> Tensor | None:
        """Return Ritz vectors, shape (c, n), of the complement that are larger than the smallest outlier."""
        spaces = self._spaces()
        return None if spaces is None or self._threshold() is None else spaces.missed(self._threshold() or 0.0)

    def absorb(self, missed: Tensor) -> Products[bool]:
        """Add directions that the search missed to the outliers and forget all probes.

        The probes have no component left in the eigenspaces their own vectors were taken from, so they must not be
        used again.

        Returns
        -------
        bool
            Whether anything was added; if not, the probes stay.
        """
        assert self.pairs is not None
        enlarged = yield from absorb(self.pairs, missed)
        self.matvecs += enlarged.num_matvecs - self.pairs.num_matvecs
        grown = len(enlarged.values) > len(self.pairs.values)
        # One dimension at least is left to the probes.
        self.pairs = enlarged.leading(self._size - 1)
        if grown:
            self._recurrences = []
        return grown

    def release(self) -> None:
        """Forget all vectors: nothing can be added any more."""
        self._recurrences, self._search, self.pairs = [], None, None

    def spectrum(self, *, converged: bool, status: str) -> BlockSpectrum:
        """Return what is known so far."""
        assert self.pairs is not None
        self._compare_spaces()
        runs = replace(self._runs(), simple=self._simple)
        ends = [*self._searched, *zip(self.pairs.values, self.pairs.residuals, strict=True)]
        for rule in gauss_rules(runs, runs.num_steps):
            ends += [(rule.nodes[j], rule.residuals[j]) for j in (0, -1)]
        largest, smallest = max(ends), min(ends)
        order = np.argsort(self.pairs.values)
        return replace(
            self._empty,
            num_matvecs=self._empty.num_matvecs + self.matvecs,
            converged=converged,
            status=status,
            outliers=Outliers(self.pairs.values[order], self.pairs.residuals[order]),
            probes=runs,
            lambda_max=(float(largest[0]), float(largest[1])),
            lambda_min=(float(smallest[0]), float(smallest[1])),
            multiplicity="lower bound" if self._simple is None or self._shows_missed(runs) else "whole",
            groups=self._groups(),
        )

    def _compare_spaces(self) -> None:
        spaces = self._spaces()
        if spaces is not None:
            self._simple = spaces.simple()

    def _spaces(self) -> KrylovSpaces | None:
        rows: list[Tensor] = []
        length = self.num_steps
        for group in self._recurrences:
            kept = group.basis_rows
            if kept is None or (group.num_steps < length and not group.closed):
                return None
            # A closed recurrence has zeros for its further vectors.
            rows += list(torch.nn.functional.pad(kept, (0, 0, 0, length + 1 - kept.shape[1])))
        return KrylovSpaces(self._runs(), rows) if rows else None

    def _threshold(self) -> float | None:
        """Magnitude beyond which a converged Ritz value of the complement should have been an outlier."""
        assert self.pairs is not None
        if len(self.pairs.values) == 0:
            return None
        return (1 + RESIDUAL_TOLERANCE) * float(np.abs(self.pairs.values).min())

    def _shows_missed(self, runs: ProbeRuns) -> bool:
        threshold = self._threshold()
        if threshold is None:
            return False
        return any(
            bool(((np.abs(rule.nodes) > threshold) & (rule.residuals <= 1e-2 * np.abs(rule.nodes))).any())
            for rule in gauss_rules(runs, runs.num_steps)
        )

    def _runs(self) -> ProbeRuns:
        """Coefficients of all recurrences; those that closed early are padded with zeros."""
        parts = [group.runs() for group in self._recurrences]
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

    def _groups(self) -> DataGroups | None:
        """What the data groups contribute, where the products came with them."""
        if self._items is None or self.pairs is None:
            return None
        parts = [part for part in (group.group_projections() for group in self._recurrences) if part is not None]
        if not parts or (len(self.pairs.values) > 0 and self.pairs.groups is None):
            return None
        alike = [part for part in parts if part.shape[2] == parts[0].shape[2]]
        return DataGroups(
            items=self._items,
            sampled_fraction=self._sampled_fraction,
            outliers=self.pairs.groups if len(self.pairs.values) else None,
            probes=np.concatenate(alike, axis=1)[:, :_GROUP_PROBES],
        )

    def _extend(self, group: LockstepLanczos, steps: int) -> Products[None]:
        before = group.num_matvecs
        yield from group.extend(steps)
        self.matvecs += group.num_matvecs - before

    def _vectors(self, purpose: str, count: int, first: int = 0) -> Tensor:
        key = f"{self._empty.name}/{purpose}"
        return gaussian_vectors(self._size, count, seed=self._seed, key=key, first=first, device=self._device)
