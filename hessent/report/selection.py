"""Which blocks and measures of a spectrum are shown, in which order; and the measures themselves."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hessent import __version__
from hessent.errors import UsageError, suggest
from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures, error_budget, measure_names
from hessent.spectra.derived import Budget, DerivedMeasures
from hessent.spectra.kronecker import KroneckerBlock
from hessent.spectra.model import BlockSpectrum, Spectrum

HEADLINE = ("trace", "lambda_max", "lambda_min", "positive_ratio", "entropy_gap", "condition_lower_entropy")
NEGATIVE_MASS_LIMIT = 0.01  # share of the absolute trace; above it entropy and κ are about abs(λ), and say so
SIZE = "size"  # what else than a measure one can sort by


@dataclass(frozen=True)
class Selection:
    """What of a spectrum is shown.

    Attributes
    ----------
    measures : tuple of str
        Names of the measures, in the order of the columns.
    blocks : tuple of str
        Globs that a block's name must match one of; empty for all.
    sort : str or None
        A measure or "size": descending by it; None keeps the model's order.
    alpha : float
        Rényi order of the entropies.
    """

    measures: tuple[str, ...] = HEADLINE
    blocks: tuple[str, ...] = ()
    sort: str | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Refuse names and orders that do not exist.

        Raises
        ------
        UsageError
            For an unknown measure, or an order that is negative or not a number.
        """
        if self.sort is not None:
            _check_known("--sort", self.sort, (*measure_names(), SIZE))
        for name in self.measures:
            _check_known("--measure", name, measure_names())
        if not self.alpha >= 0.0:
            raise UsageError(f"--alpha {self.alpha}: the order of an entropy is a number from 0 to inf")


@dataclass(frozen=True)
class SpectrumEntry:
    """A spectrum as it comes from a file or from a computation that has just ended.

    Attributes
    ----------
    file : str
        Name of its file, as the user typed it.
    spectrum : Spectrum
        What was measured.
    derived : mapping of str to DerivedMeasures
        Measures already at hand, by block name.
    """

    file: str
    spectrum: Spectrum
    derived: Mapping[str, DerivedMeasures] = field(default_factory=dict)

    def measures_of(self, block: BlockSpectrum, alpha: float) -> Mapping[str, Estimate]:
        """Return all measures of a block at Rényi order `alpha`; derived anew unless this version's are at hand."""
        ready = self._ready(block, alpha)
        return ready.estimates if ready is not None else compute_measures(block, alpha=alpha)

    def budget_of(self, block: BlockSpectrum, alpha: float) -> Mapping[str, Budget]:
        """Return where the half-widths of a block's smooth measures come from."""
        ready = self._ready(block, alpha)
        return ready.budgets if ready is not None and ready.budgets else error_budget(block, alpha)

    def _ready(self, block: BlockSpectrum, alpha: float) -> DerivedMeasures | None:
        ready = self.derived.get(block.name)
        if ready is None or alpha != 1.0 or ready.version != __version__:
            return None
        # Before enclosures had a value, files of this version kept them without: derived again, they have one.
        if any(own.value is None and own.low is not None for own in ready.estimates.values()):
            return None
        return ready if tuple(ready.estimates) == measure_names() else None


@dataclass(frozen=True)
class MeasuredBlock:
    """A block with its measures at the order asked for."""

    block: BlockSpectrum
    measures: Mapping[str, Estimate]

    @property
    def how(self) -> str:
        """How its spectrum was had: "exact", k+q×m, "K-FAC", or "hutch++" with the number of its test vectors."""
        if self.block.trace_estimates is not None:
            return f"hutch++, {len(self.block.trace_estimates)} vectors"
        if isinstance(self.block, KroneckerBlock):
            return f"K-FAC, {self.block.approximation}"
        if self.block.probes is None:
            return "exact"
        outliers = 0 if self.block.outliers is None else len(self.block.outliers.values)
        return f"{outliers}+{self.block.probes.num_probes}×{self.block.probes.num_steps}"

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader of the row must know."""
        raised = [] if self.block.converged else ["not-converged"]
        if self._negative_mass > NEGATIVE_MASS_LIMIT:
            raised.append("negative-mass")
        if self.block.probes is not None and self.block.multiplicity == "lower bound":
            raised.append("further-copies")
        return tuple(raised)

    @property
    def _negative_mass(self) -> float:
        """Share of Σ abs(λ) that lies on negative eigenvalues; 0 where it is unknown."""
        total, absolute = self.measures["trace"].value, self.measures["abs_trace"].value
        return (absolute - total) / (2 * absolute) if absolute and total is not None else 0.0


def select_blocks(entry: SpectrumEntry, selection: Selection) -> list[MeasuredBlock]:
    """Return the chosen blocks with their measures, in the chosen order.

    Parameters
    ----------
    entry : SpectrumEntry
        What was measured.
    selection : Selection
        Which blocks, in which order, at which Rényi order.

    Raises
    ------
    UsageError
        If a glob matches no block.
    """
    chosen = [
        MeasuredBlock(block, entry.measures_of(block, selection.alpha))
        for block in blocks_named(entry, selection.blocks)
    ]
    if selection.sort is not None:
        by = selection.sort
        chosen.sort(key=lambda measured: -_sort_key(measured, by))
    return chosen


def training_of(entry: SpectrumEntry) -> str | None:
    """Return what tells trainings apart: architecture and settings of the optimizer; None if not stated."""
    checkpoint = entry.spectrum.checkpoint
    if not checkpoint.optimizer:
        return None
    return json.dumps([checkpoint.arch, dict(checkpoint.optimizer)], sort_keys=True)


def blocks_named(entry: SpectrumEntry, patterns: Sequence[str]) -> list[BlockSpectrum]:
    """Return the blocks whose name matches one of the globs, in the model's order; all where there is no glob.

    Raises
    ------
    UsageError
        If a glob matches no block.
    """
    blocks = entry.spectrum.blocks
    names = [block.name for block in blocks]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            near = suggest(pattern, names)
            raise UsageError(
                f"--block '{pattern}' matches no block" + (f"; {near}" if near else ""),
                where=entry.file,
                expected=f"a glob for one of {len(names)} blocks: {', '.join(names[:8])}{', …' * (len(names) > 8)}",
            )
    if not patterns:
        return list(blocks)
    return [block for block in blocks if any(fnmatch.fnmatchcase(block.name, pattern) for pattern in patterns)]


def _check_known(option: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        near = suggest(name, known)
        raise UsageError(
            f"{option} '{name}': there is no such measure" + (f"; {near}" if near else ""),
            expected=", ".join(known),
        )


def _sort_key(measured: MeasuredBlock, by: str) -> float:
    if by == SIZE:
        return float(measured.block.size)
    estimate = measured.measures[by]
    known = [number for number in (estimate.value, estimate.low, estimate.high) if number is not None]
    return known[0] if known else -math.inf
