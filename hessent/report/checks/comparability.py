"""A run beside its baseline: whether the two can be compared, what differs, and how far each measure changed."""

from __future__ import annotations

from hessent.estimate import Estimate
from hessent.report.checks import changes
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.checks.rules import Rule

# Measures that depend on how they were measured: on a threshold τ that follows the noise of the products, or on the
# number of steps.  Two measurements of one matrix need not mean the same number.
_OF_THE_MEASUREMENT = frozenset(
    {"positive_ratio", "negative_ratio", "zero_ratio", "condition_damped", "condition_lower_ritz"}
)


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

    @property
    def obstacles(self) -> list[str]:
        """Why no comparison means anything: sentences."""
        run, other = self._run, self._baseline
        pairs = (("curvature", run.curvature, other.curvature), ("loss", run.loss, other.loss))
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
        kind = rule.bound.kind
        if mine.value is not None and theirs.value is not None and self._has_same_truth(rule.measure, block):
            return changes.unchanged(kind.quantity), theirs, True
        if kind.quantity == "ratio":
            return changes.ratio(mine, theirs, rule.measure), theirs, False
        find = changes.relative_increase if rule.bound.relative else changes.increase
        found = find(mine, theirs, rule.measure)
        return (found if kind.quantity == "increase" else changes.opposite(found)), theirs, False

    def _has_same_truth(self, measure: str, block: str) -> bool:
        """Whether both are measurements of one and the same number."""
        run, other = self._run, self._baseline
        if run.checkpoint_sha256 != other.checkpoint_sha256 or run.data_sha256 != other.data_sha256:
            return False
        mine, theirs = run.blocks[block], other.blocks[block]
        if mine.size != theirs.size or run.arch != other.arch:
            return False
        return measure not in _OF_THE_MEASUREMENT or mine.measures[measure] == theirs.measures[measure]

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
