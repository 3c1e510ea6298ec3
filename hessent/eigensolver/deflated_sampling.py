"""A block sampled with few vectors in memory: outliers first, then probes one beside the other in their complement.

What to do next is decided elsewhere (`deflated_route`); here it is done: search for outliers, add probes, lengthen
recurrences, take in what the search missed.  Every product is counted.  Whatever asks for products goes on from
where it stands when it is asked for again: so a state that is read back can be worked on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.eigensolver.gradient_along import GradientVector, along_ritz_vectors
from hessent.eigensolver.outliers import OutlierSearch
from hessent.eigensolver.probe_groups import ProbeGroups
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import Products, Result
from hessent.eigensolver.ritz_pairs import RESIDUAL_TOLERANCE, RitzPairs, absorb, restored_pairs
from hessent.eigensolver.saved_state import SavedState, StateReader
from hessent.measures.quadrature import gauss_rules
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import DataGroups, Outliers, ProbeRuns

Float64Array = NDArray[np.float64]

_FRESH_DIRECTIONS = 16
_SEARCH_INSTALMENT = 20
# Probes whose spaces the data groups are projected on; more changed nothing on small trained nets.
_GROUP_PROBES = 6


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
    gradient_vector : callable, optional
        Returns the gradient by the block's parameters, shape (n,).

    Attributes
    ----------
    matvecs : int
        Products so far.
    probes : ProbeGroups
        The probes in the complement.
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
        gradient_vector: GradientVector | None = None,
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
        self._gradient_vector = gradient_vector
        self.probes = ProbeGroups(empty.size, partial(self._vectors, "probe"), room=room // 2, dtype=dtype)
        self._searched: Float64Array = np.zeros((0, 2))  # (value, residual) of every Ritz pair of the search
        self._search: OutlierSearch | None = None
        self._num_spaces = 0  # deflated so far, one after the other
        self._simple: Float64Array | None = None

    def search(self, num_steps: int, more: Callable[[OutlierSearch], bool]) -> Products[None]:
        """Find outliers with `num_steps` products, and with further instalments for as long as `more` says so.

        A search that was begun is gone on with.
        """
        search = self._search = self._search or self._begin_search()
        left = min(num_steps, self._size) - search.num_matvecs
        if left < 0:  # it is amid an instalment, or at the end of one
            left %= _SEARCH_INSTALMENT
        yield from self._counted(search.extend(left))
        while more(search):
            yield from self._counted(search.extend(_SEARCH_INSTALMENT))
        found = search.pairs()
        self._searched = np.column_stack([found.values, found.residuals])
        # Half of the space at least is left to the probes.
        self._deflate(found.leading(min(found.num_converged, self._size // 2)))

    def end_search(self) -> None:
        """Let go of the vectors of the search, which is not gone on with."""
        self._search = None

    def add_probes(self, count: int, steps: int) -> None:
        """Let `count` further probes take `steps` steps."""
        assert self.pairs is not None
        self.probes.add(count, steps, self.pairs.vectors)

    def lengthen(self, steps: int) -> None:
        """Let every probe take `steps` further steps."""
        if self.probes.outgrown_by(steps):
            self._compare_spaces()  # it needs the vectors that are about to go
            self.probes.drop_vectors()
        self.probes.lengthen(steps)

    def reach_goals(self) -> Products[None]:
        """Take the steps that the probes are still to take."""
        yield from self._counted(self.probes.reach_goals())

    def forget_probes(self) -> None:
        """Forget the probes: they ran beside fewer outliers than there will be."""
        self.probes.clear()
        self._simple = None

    def missed(self) -> Tensor | None:
        """Return Ritz vectors, shape (c, n), of the complement that are larger than the smallest outlier."""
        spaces = self.probes.spaces()
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
        enlarged = yield from self._counted(absorb(self.pairs, missed))
        grown = len(enlarged.values) > len(self.pairs.values)
        # One dimension at least is left to the probes.
        self._deflate(enlarged.leading(self._size - 1))
        if grown:
            self.probes.clear()
        return grown

    def spectrum(self, *, converged: bool, status: str) -> BlockSpectrum:
        """Return what is known so far."""
        assert self.pairs is not None
        self._compare_spaces()
        runs = replace(self.probes.runs(), simple=self._simple)
        ends = [*map(tuple, self._searched.tolist()), *zip(self.pairs.values, self.pairs.residuals, strict=True)]
        for rule in gauss_rules(runs, runs.num_steps):
            ends += [(rule.nodes[j], rule.residuals[j]) for j in (0, -1)]
        largest, smallest = max(ends), min(ends)
        order = np.argsort(self.pairs.values)
        rows = self.pairs.vectors
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
            gradient=along_ritz_vectors(
                self._empty.gradient,
                self._gradient_vector,
                lambda vector: rows @ vector.to(rows.dtype),
                self.pairs.values,
                self.pairs.residuals,
            ),
        )

    def saved_state(self) -> SavedState:
        """Return all there is to go on from, but for start vectors, which are drawn again."""
        deflating = self.pairs is not None and self.probes.num_probes > 0  # else a search will find other pairs
        small = {
            "matvecs": np.array([self.matvecs]),
            "num_spaces": np.array([self._num_spaces]),
            "drawn_with": self._sign_of_draws(),
            "parts": np.array([self._simple is not None, self._search is not None, deflating], dtype=np.int64),
            "searched": self._searched,
        }
        if self._simple is not None:
            small["simple"] = self._simple
        state = SavedState(small) | self.probes.saved_state().within("probes")
        if self._search is not None:
            state |= self._search.saved_state().within("search")
        if self.pairs is not None and deflating:
            state |= self.pairs.saved_state(self._num_spaces).within("pairs")
        return state

    def restore(self, state: StateReader) -> None:
        """Go on from a saved state, where nothing has been done; ValueError if it does not fit."""
        data_groups = 0 if self._items is None else len(self._items)
        self.matvecs = state.count("matvecs", 1, 2**62)
        if not np.array_equal(state.array("drawn_with", (None,)), self._sign_of_draws()):
            raise ValueError("it belongs to a block of another name, or its vectors were drawn from another seed")
        self._num_spaces = state.count("num_spaces", 0, self.matvecs)
        self._searched = state.array("searched", (None, 2))
        simple, searching, deflating = state.counts("parts", 0, 1, (3,))
        self._simple = state.array("simple", (None,)) if simple else None
        if searching:
            self._search = self._begin_search()
            self._search.restore(state.within("search"), data_groups=data_groups)
        if deflating:
            like = torch.empty(0, self._size, dtype=self._dtype, device=self._device)
            self.pairs = restored_pairs(state.within("pairs"), self._num_spaces, like, data_groups=data_groups)
        outliers = None if self.pairs is None else self.pairs.vectors
        self.probes.restore(state.within("probes"), outliers, data_groups=data_groups)

    def _begin_search(self) -> OutlierSearch:
        return OutlierSearch(
            self._vectors("outliers", 1)[0],
            basis_limit=self._room // 2,
            dtype=self._dtype,
            fresh=self._vectors("fresh", _FRESH_DIRECTIONS),
        )

    def _deflate(self, pairs: RitzPairs) -> None:
        self.pairs = pairs
        self._num_spaces += 1

    def _counted(self, products: Products[Result]) -> Products[Result]:
        """Pass on what is asked for, and count what is answered."""
        try:
            columns = next(products)
            while True:
                product = yield columns
                self.matvecs += columns.shape[1]
                columns = products.send(product)
        except StopIteration as finished:
            result: Result = finished.value
            return result

    def _compare_spaces(self) -> None:
        spaces = self.probes.spaces()
        if spaces is not None:
            self._simple = spaces.simple()

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

    def _groups(self) -> DataGroups | None:
        """What the data groups contribute, where the products came with them."""
        if self._items is None or self.pairs is None:
            return None
        projections = self.probes.data_groups()
        if projections is None or (len(self.pairs.values) > 0 and self.pairs.groups is None):
            return None
        return DataGroups(
            items=self._items,
            sampled_fraction=self._sampled_fraction,
            outliers=self.pairs.groups if len(self.pairs.values) else None,
            probes=projections[:, :_GROUP_PROBES],
        )

    def _sign_of_draws(self) -> Float64Array:
        """Return numbers that depend on the seed and the block's name alone."""
        sign: Float64Array = gaussian_vectors(4, 1, seed=self._seed, key=f"{self._empty.name}/sign")[0].numpy()
        return sign

    def _vectors(self, purpose: str, count: int, first: int = 0) -> Tensor:
        key = f"{self._empty.name}/{purpose}"
        return gaussian_vectors(self._size, count, seed=self._seed, key=key, first=first, device=self._device)
