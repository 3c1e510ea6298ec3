"""The spectrum of one block: a cheap first look, then refinement until the tolerance or the budget is met.

Small blocks are formed exactly.  Larger ones: outliers by Lanczos, probes in their complement, then, while the
interval is wider than asked, longer recurrences where the quadrature's truncation dominates and more probes where
sampling does.  After the first probes the complement is searched for what the outlier run missed (copies of
multiple eigenvalues have no component along its single start vector); what is found joins the outliers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hessent.eigensolver.dense import exact_eigenvalues
from hessent.eigensolver.lanczos import LockstepLanczos
from hessent.eigensolver.outliers import RESIDUAL_TOLERANCE, OutlierSearch, RitzPairs, absorb, leading_converged
from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import Products
from hessent.eigensolver.settings import (
    FIRST_PROBES,
    FIRST_STEPS,
    LOOK,
    MAX_PROBES,
    MAX_SEARCH,
    MAX_STEPS,
    Plan,
    SolverSettings,
    first_plan,
    is_exact,
)
from hessent.eigensolver.widths import square_sum, widths
from hessent.measures.quadrature import gauss_rules
from hessent.spectra.model import BlockSpectrum, Outliers, ProbeRuns

_MISSED_ROUNDS = 3
_FRESH_DIRECTIONS = 16
_SEARCH_INSTALMENT = 20
# Longer vectors are not reorthogonalised beyond the first instalment of steps: it would cost as much as the
# products, and with the outliers projected out it changes nothing that the intervals could see.
_REORTHOGONALISED = 20_000
_T_QUANTILE = 3.2  # of 97.5 % for the first four probes
_SMALL_SHARE = 0.3  # of the tolerance; the rest is left to the quadrature
_PRODUCTS_PER_PAIR = 2.2  # measured on exact Hessians of small trained nets


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
    spent : int
        Products already spent on the block.

    Attributes
    ----------
    spectrum : BlockSpectrum or None
        The latest result; refined as the solver proceeds.
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
        spent: int = 0,
    ) -> None:
        self.name = name
        self.size = size
        self.exact = is_exact(settings, size, spent)
        self.spectrum: BlockSpectrum | None = None
        self._settings = settings
        self._dtype = dtype
        self._device = torch.device(device)
        self._matvecs = spent
        self._empty = BlockSpectrum(name, size, parameters, "lanczos", spent, False, "not finished", noise)
        self._pairs: RitzPairs | None = None
        self._searched: list[tuple[float, float]] = []  # (value, residual) of every Ritz pair of the search
        self._groups: list[LockstepLanczos] = []
        self._drawn = 0  # probes drawn since the search

    def planned_matvecs(self) -> int:
        """Products expected for the whole block (the first instalment, for a sampled one)."""
        if self.exact:
            return self.size
        plan = first_plan(self._settings, self.size, self._matvecs)
        return plan.search + plan.probes * plan.steps

    def first_look(self) -> Products[None]:
        """Get a first estimate with few products; a block as small as that is finished at once."""
        if self.exact and self.size <= LOOK.search + LOOK.probes * LOOK.steps:
            yield from self._solve_exactly()
        elif self._settings.max_matvecs is None and self._settings.num_probes is None:
            plan = replace(LOOK, search=min(LOOK.search, self.size // 2))
            yield from self._sample(plan, "first look")

    def finish(self) -> Products[None]:
        """Compute the block to the requested tolerance, or to the end of its budget."""
        if self.spectrum is not None and self.spectrum.converged:
            return
        if self.exact:
            yield from self._solve_exactly()
            return
        yield from self._sample(first_plan(self._settings, self.size, self._matvecs), "budget spent")
        yield from self._refine()
        self._groups = []  # their vectors are not needed any more

    def stop(self, status: str) -> None:
        """Record why the block was left as it is."""
        if self.spectrum is not None and not self.spectrum.converged:
            self.spectrum = replace(self.spectrum, status=status)

    def _solve_exactly(self) -> Products[None]:
        eigenvalues = yield from exact_eigenvalues(self.size, device=self._device)
        self._matvecs += self.size
        self.spectrum = replace(
            self._empty,
            method="exact",
            num_matvecs=self._matvecs,
            converged=True,
            status="exact",
            eigenvalues=eigenvalues,
        )

    def _sample(self, plan: Plan, status: str) -> Products[None]:
        """Deflate outliers and run probes in their complement."""
        yield from self._search(plan.search)
        self._groups, self._drawn = [], 0
        yield from self._add_probes(plan.probes, plan.steps)
        for _ in range(_MISSED_ROUNDS):
            missed = self._missed()
            if missed is None or not self._affordable(len(missed) + plan.probes * plan.steps):
                break
            assert self._pairs is not None
            before = len(self._pairs.values)
            enlarged = yield from absorb(self._pairs, missed)
            self._matvecs += enlarged.num_matvecs - self._pairs.num_matvecs
            # One dimension at least is left to the probes.
            self._pairs = enlarged.leading(self.size - 1)
            if len(enlarged.values) == before:
                break
            # New probes: the old ones have no component left in the eigenspaces their own vectors were taken from.
            self._groups = []
            yield from self._add_probes(plan.probes, plan.steps)
        self._publish(converged=False, status=status)

    def _search(self, num_steps: int) -> Products[None]:
        """Find outliers: with a budget as planned, else for as long as deflating more pays."""
        fresh = gaussian_vectors(
            self.size, _FRESH_DIRECTIONS, seed=self._settings.seed, key=f"{self.name}/fresh", device=self._device
        )
        search = OutlierSearch(
            self._vectors("outliers", 1)[0], basis_limit=self._room() // 2, dtype=self._dtype, fresh=fresh
        )
        yield from search.extend(min(num_steps, self.size))
        while self._deflating_pays(search):
            yield from search.extend(_SEARCH_INSTALMENT)
        found = search.pairs()
        self._matvecs += found.num_matvecs
        self._searched = list(zip(found.values.tolist(), found.residuals.tolist(), strict=True))
        # Half of the space at least is left to the probes.
        self._pairs = found.leading(min(found.num_converged, self.size // 2))

    def _deflating_pays(self, search: OutlierSearch) -> bool:
        """Whether one more outlier lowers the variance of the trace more, per product, than one more probe.

        A pair costs about 2.2 products and takes 2 λ²/q from the variance; a probe costs m and takes
        2 Σ λ² / (q (q + 1)), the sum over what is not deflated.  Σ λ² comes from the first look.
        """
        look = self.spectrum
        if look is None or look.probes is None or self._settings.max_matvecs is not None:
            return False
        most = min(MAX_SEARCH, self.size // 2, self._room() // 2)
        if search.finished or search.num_matvecs + _SEARCH_INSTALMENT > most:
            return False
        values, residuals = search.ritz_values()
        converged = leading_converged(values, residuals)
        if converged == len(values):
            return True
        rest = max(square_sum(look) - float((values[:converged] ** 2).sum()), 0.0)
        deflated = float(np.abs(values[:converged]).sum())
        if _T_QUANTILE * (2 * rest / FIRST_PROBES) ** 0.5 < _SMALL_SHARE * self._settings.rtol * deflated:
            return False  # the first probes alone will meet the tolerance
        per_pair = float(values[converged]) ** 2 / _PRODUCTS_PER_PAIR
        return per_pair > rest / ((FIRST_PROBES + 1) * FIRST_STEPS)

    def _add_probes(self, count: int, steps: int) -> Products[None]:
        assert self._pairs is not None
        running = sum(group.num_probes for group in self._groups)
        group = LockstepLanczos(
            self._vectors("probe", count, self._drawn),
            self._pairs.vectors,
            dtype=self._dtype,
            keep_basis=(running + count) * steps <= self._room() // 2,
        )
        self._drawn += count
        self._groups.append(group)
        yield from self._extend(group, steps)

    def _extend(self, group: LockstepLanczos, steps: int) -> Products[None]:
        before = group.num_matvecs
        yield from group.extend(steps)
        self._matvecs += group.num_matvecs - before

    def _refine(self) -> Products[None]:
        """Lengthen the recurrences or add probes, whichever narrows the interval more per product."""
        adaptive = self._settings.num_probes is None and self._settings.num_steps is None
        while True:
            assert self.spectrum is not None
            width = widths(self.spectrum)
            if width.meets(self._settings.rtol):
                self._publish(converged=True, status="tolerance met")
                return
            runs = self._runs()
            longer = min(2 * runs.num_steps, MAX_STEPS, self.size)
            unfinished = not all(group.closed for group in self._groups)
            can_lengthen = adaptive and unfinished and longer > runs.num_steps
            can_add = adaptive and runs.num_probes < MAX_PROBES
            if not can_lengthen and not can_add:
                status = "caps reached" if adaptive else "probes and steps as asked"
                self._publish(converged=False, status=status)
                return
            if can_lengthen and (not can_add or width.lengthening_pays(runs.num_probes, runs.num_steps)):
                affordable = self._affordable_steps(runs.num_probes, longer - runs.num_steps)
                if affordable == 0:
                    break
                for group in self._groups:
                    if self.size > _REORTHOGONALISED or runs.num_probes * longer > self._room() // 2:
                        group.drop_basis()
                    yield from self._extend(group, affordable)
            else:
                if not self._affordable(2 * runs.num_steps):
                    break
                yield from self._add_probes(2, runs.num_steps)
            self._publish(converged=False, status="refining")
        self._publish(converged=False, status="budget spent")

    def _affordable(self, matvecs: int) -> bool:
        limit = self._settings.max_matvecs
        return limit is None or self._matvecs + matvecs <= limit

    def _affordable_steps(self, num_probes: int, steps: int) -> int:
        limit = self._settings.max_matvecs
        return steps if limit is None else max(min(steps, (limit - self._matvecs) // num_probes), 0)

    def _missed(self) -> Tensor | None:
        """Converged Ritz vectors of the complement that are larger than the smallest outlier."""
        assert self._pairs is not None
        if len(self._pairs.values) == 0:
            return None
        threshold = (1 + RESIDUAL_TOLERANCE) * float(np.abs(self._pairs.values).min())
        vectors = [vector for group in self._groups for vector in group.converged_vectors(threshold)]
        return torch.stack(vectors) if vectors else None

    def _publish(self, *, converged: bool, status: str) -> None:
        assert self._pairs is not None
        runs = self._runs()
        rules = gauss_rules(runs, runs.num_steps)
        ends = [*self._searched, *zip(self._pairs.values, self._pairs.residuals, strict=True)]
        for rule in rules:
            ends += [(rule.nodes[j], rule.residuals[j]) for j in (0, -1)]
        largest, smallest = max(ends), min(ends)
        order = np.argsort(self._pairs.values)
        self.spectrum = replace(
            self._empty,
            num_matvecs=self._matvecs,
            converged=converged,
            status=status,
            outliers=Outliers(self._pairs.values[order], self._pairs.residuals[order]),
            probes=runs,
            lambda_max=(float(largest[0]), float(largest[1])),
            lambda_min=(float(smallest[0]), float(smallest[1])),
        )

    def _runs(self) -> ProbeRuns:
        """Coefficients of all groups; recurrences that closed early are padded with zeros."""
        parts = [group.runs() for group in self._groups]
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

    def _vectors(self, purpose: str, count: int, first: int = 0) -> Tensor:
        key = f"{self.name}/{purpose}"
        return gaussian_vectors(
            self.size, count, seed=self._settings.seed, key=key, first=first, device=self._device
        )

    def _room(self) -> int:
        """Vectors that fit in the memory allowed."""
        itemsize = torch.finfo(self._dtype).bits // 8
        return max(self._settings.basis_memory // (itemsize * self.size), 32)
