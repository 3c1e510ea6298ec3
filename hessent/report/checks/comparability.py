"""A run beside its baseline: whether the two can be compared, what differs, and how far each measure changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hessent.estimate import Estimate
from hessent.measures.mini_batches import OF_BATCHES, obstacle, other_size
from hessent.report.checks import changes
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.checks.rules import Rule

if TYPE_CHECKING:
    from hessent.measures.difference import Difference

# Measures that are a function of the gap have its chance.
_BUDGET_OF = {"entropy": "entropy_gap"}


class Comparison:
    """A run and one baseline.

    Parameters
    ----------
    run, baseline : JudgedSpectrum
        What is judged, and what it is measured against.
    population : bool
        Whether intervals of the population are compared.
    """

    def __init__(self, run: JudgedSpectrum, baseline: JudgedSpectrum, *, population: bool = False) -> None:
        self._run, self._baseline, self._population = run, baseline, population
        self._differences: dict[str, Mapping[str, Difference]] = {}

    @property
    def obstacles(self) -> list[str]:
        """Why no comparison means anything: sentences."""
        run, other = self._run, self._baseline
        pairs = (
            ("curvature", run.curvature, other.curvature),
            ("preconditioner", run.precondition, other.precondition),
            ("loss", run.loss, other.loss),
        )
        return [
            f"the {name} is {mine}, but {theirs} in the baseline {other.file}"
            for name, mine, theirs in pairs
            if mine != theirs
        ]

    @property
    def differences(self) -> list[str]:
        """What else than the weights differs: sentences."""
        run, other = self._run, self._baseline
        found = []
        if run.arch != other.arch:
            found.append(f"the architecture is {run.arch}, but {other.arch} in the baseline {other.file}")
        sizes = [name for name, block in run.blocks.items() if self._size_there(name) not in (None, block.size)]
        if sizes:
            found.append(
                f"{len(sizes):,} blocks have other sizes than in the baseline {other.file}, '{sizes[0]}' first"
            )
        # Other samples of one source are what the intervals of the population are about.
        same_source = run.data == other.data
        if run.data_sha256 != other.data_sha256 and not (self._population and same_source):
            found.append(
                f"measured on {run.samples:,} samples of {run.data}, the baseline {other.file} on "
                f"{other.samples:,} {'other samples' if same_source else 'samples of ' + other.data}: "
                "the change includes that of the data"
            )
        return found

    def change(self, rule: Rule, block: str) -> tuple[Estimate, Estimate, bool]:
        """Return how far a measure has changed.

        Parameters
        ----------
        rule : Rule
            One that is about a change; it says in which form.
        block : str
            A block that both have.

        Returns
        -------
        tuple of (Estimate, Estimate, bool)
            The change, the measure of the baseline, and whether the two were compared as a pair.
        """
        mine, theirs = (
            interval_of(spectrum.blocks[block].measures[rule.measure], population=self._population)
            for spectrum in (self._run, self._baseline)
        )
        kind, relative = rule.bound.kind, rule.bound.relative
        sizes = self._run.blocks[block].batch_size, self._baseline.blocks[block].batch_size
        if self._is_itself(block, rule.measure) and other_size(*sizes) is None:
            return changes.unchanged(kind), theirs, True
        reason = obstacle(*sizes) if rule.measure in OF_BATCHES else None
        if reason is not None and mine.value is not None and theirs.value is not None:
            return Estimate.unknown(reason), theirs, False
        difference = self._paired(block, rule.measure)
        if difference is not None:
            found = changes.of_paired(kind, relative, difference, theirs)
            if found is not None:
                return found, theirs, True
        shares = self._share(self._run, block, rule.measure), self._share(self._baseline, block, rule.measure)
        return changes.change(kind, relative, mine, theirs, shares), theirs, False

    def _is_itself(self, block: str, measure: str) -> bool:
        """Whether run and baseline are the same numbers, measured on the same weights and samples."""
        run, other = self._run, self._baseline
        if run.checkpoint_sha256 != other.checkpoint_sha256 or run.data_sha256 != other.data_sha256:
            return False
        mine, theirs = (
            interval_of(spectrum.blocks[block].measures[measure], population=self._population)
            for spectrum in (run, other)
        )
        numbers = ((one.value, one.low, one.high) for one in (mine, theirs))
        return mine.value is not None and next(numbers) == next(numbers)

    def _paired(self, block: str, measure: str) -> Estimate | None:
        """Return the difference probe by probe, where the coefficients of both are at hand and it tells more."""
        run, other = self._run, self._baseline
        if run.spectrum is None or other.spectrum is None:
            return None
        from hessent.measures.paired import differences

        if block not in self._differences:
            self._differences[block] = differences(
                run.spectrum.block(block),
                other.spectrum.block(block),
                same_seed=run.seed == other.seed,
                same_samples=run.data_sha256 == other.data_sha256,
                known=(run.blocks[block].measures, other.blocks[block].measures),
            )
        found = self._differences[block][measure]
        if found.value is None or not found.paired:
            return None
        return found.population if self._population else found.estimate

    def _share(self, spectrum: JudgedSpectrum, block: str, measure: str) -> float:
        """Return the share of a half-width that is chance: of the probes, and for the population of the samples."""
        judged = spectrum.blocks[block]
        own = interval_of(judged.measures[measure], population=self._population)
        if own.value is None or own.low is None or own.high is None:
            return 0.0
        budget = judged.budget.get(_BUDGET_OF.get(measure, measure), {})
        chance = budget.get("probes") or 0.0
        if self._population:
            chance = math.hypot(chance, budget.get("data") or 0.0)
        distance = max(own.value - own.low, own.high - own.value)
        return min(chance / distance, 1.0) if distance > 0.0 else 0.0

    def _size_there(self, name: str) -> int | None:
        block = self._baseline.blocks.get(name)
        return None if block is None else block.size


def interval_of(estimate: Estimate, *, population: bool) -> Estimate:
    """Return the interval that is judged: for this data, or for the population it was drawn from."""
    if estimate.value is None:
        return Estimate.unknown(estimate.reason or "the value is not a number")
    if not population:
        return estimate
    if estimate.population is None:
        return Estimate.unknown("no interval for the population was kept of it")
    return estimate.population
