"""How good K-FAC is at a checkpoint: its spectra beside those of a matrix that was multiplied with.

Columns
-------
block, size
    As in a summary.
trace
    Of the matrix that K-FAC stands for.
trace ratio, λ_max ratio
    K-FAC's over that: 1 where it is right.  The 95 % interval is that of the matrix's own number, and of K-FAC's
    where that was drawn.
gap difference
    K-FAC's entropy gap less the matrix's, in nats: below zero K-FAC's spectrum is too flat.
distance, floor
    Jensen–Shannon distance of the two spectra, from 0 (the same) to 1 (no eigenvalue of like size), and what other
    probes alone would make of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from hessent.estimate import Estimate
from hessent.measures.difference import Difference
from hessent.measures.functionals import only_trace
from hessent.measures.heterogeneity import distance, profile
from hessent.measures.paired import differences
from hessent.report.numbers import format_number
from hessent.report.tables import Column, Table

if TYPE_CHECKING:
    from hessent.report.checks.judged_spectrum import JudgedSpectrum
    from hessent.report.comparison import Comparison

KFAC = "kfac"
_WHOLE = ("full", "covered")


@dataclass(frozen=True)
class BlockQuality:
    """How near K-FAC's block is to that of the matrix it stands for.

    Attributes
    ----------
    name : str
        Of the block.
    size : int
        Its parameters.
    trace : Estimate
        Of the matrix.
    trace_ratio, lambda_max_ratio : Estimate
        K-FAC's over the matrix's.
    gap_difference : Difference
        K-FAC's entropy gap less the matrix's, in nats.
    distance, floor : float or None
        Of the spectra, and by the probes alone; None where only the trace is known.
    """

    name: str
    size: int
    trace: Estimate
    trace_ratio: Estimate
    lambda_max_ratio: Estimate
    gap_difference: Difference
    distance: float | None
    floor: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "block": self.name,
            "size": self.size,
            "trace": self.trace.to_json(),
            "trace_ratio": self.trace_ratio.to_json(),
            "lambda_max_ratio": self.lambda_max_ratio.to_json(),
            "entropy_gap_difference": self.gap_difference.to_json(),
            "distance": self.distance,
            "floor": self.floor,
        }


@dataclass(frozen=True)
class KfacQuality:
    """How near K-FAC is to a matrix at one checkpoint.

    Attributes
    ----------
    run, reference : str
        Names of K-FAC's run and of that of the matrix.
    curvature : str
        The matrix.
    approximation : str
        "expand" or "reduce".
    label : str
        Where in the training.
    blocks : tuple of BlockQuality
        Those that both have, in the model's order.
    without : tuple of str
        Those that K-FAC does not have.
    """

    run: str
    reference: str
    curvature: str
    approximation: str
    label: str
    blocks: tuple[BlockQuality, ...]
    without: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "run": self.run,
            "reference": self.reference,
            "curvature": self.curvature,
            "approximation": self.approximation,
            "blocks": [block.to_json() for block in self.blocks],
            "blocks_without_kfac": list(self.without),
        }

    def table(self) -> Table:
        """Build the table; see the module's docstring for the columns."""
        return Table(
            columns=(
                Column("block", "block", "name"),
                Column("size", "size", "count", priority=5),
                Column("trace", "trace", "estimate", priority=4),
                Column("trace_ratio", "trace ratio", "estimate"),
                Column("lambda_max_ratio", "λ_max ratio", "estimate", priority=2),
                Column("entropy_gap_difference", "gap difference", "estimate"),
                Column("distance", "distance", "number"),
                Column("floor", "floor", "number", priority=6),
            ),
            rows=tuple(
                (
                    block.name,
                    block.size,
                    block.trace,
                    block.trace_ratio,
                    block.lambda_max_ratio,
                    block.gap_difference.estimate,
                    block.distance,
                    block.floor,
                )
                for block in self.blocks
            ),
            title=f"How good K-FAC ({self.approximation}) is here: {self.run} beside {self.reference}, "
            f"at {self.label}",
            notes=tuple(self._notes()),
            audience="people",  # programs find it in the JSON document, with all that belongs to a number
        )

    def _notes(self) -> Iterator[str]:
        yield (
            f"ratios: K-FAC's over that of the {self.curvature}, 1 where it is right; gap difference: K-FAC's less "
            "the other's, in nats; distance of the spectra: Jensen–Shannon, 0 to 1; floor: what other probes alone "
            "make of it."
        )
        layers = [block for block in self.blocks if block.name not in _WHOLE]
        if len(layers) > 1:
            yield f"in the middle of {len(layers)} blocks: {_middle(layers)}."
        if self.without:
            shown = ", ".join(self.without[:4]) + (" …" if len(self.without) > 4 else "")
            yield f"no K-FAC of {len(self.without)} blocks of the {self.curvature}: {shown}"


def kfac_quality(
    kfac: JudgedSpectrum,
    matrix: JudgedSpectrum,
    *,
    names: tuple[str, str],
    label: str,
    blocks: Sequence[str] | None = None,
) -> KfacQuality | None:
    """Hold a K-FAC spectrum beside that of another matrix of the same checkpoint.

    Parameters
    ----------
    kfac, matrix : JudgedSpectrum
        Of the same weights, coefficients at hand.
    names : tuple of str
        Of both runs.
    label : str
        Where in the training.
    blocks : sequence of str, optional
        The blocks that are shown, where not all are.

    Returns
    -------
    KfacQuality or None
        None where they are of other weights, have no block in common, or their coefficients are not at hand.
    """
    if kfac.spectrum is None or matrix.spectrum is None or kfac.checkpoint_sha256 != matrix.checkpoint_sha256:
        return None
    sizes = {name: block.size for name, block in kfac.blocks.items()}
    shared = [name for name, block in matrix.blocks.items() if sizes.get(name) == block.size]
    shown = [name for name in shared if blocks is None or name in blocks]
    if not shown:
        return None
    return KfacQuality(
        run=names[0],
        reference=names[1],
        curvature=matrix.curvature,
        approximation=str(kfac.spectrum.settings.get("kfac_approx", "")),
        label=label,
        blocks=tuple(_block(name, kfac, matrix) for name in shown),
        without=tuple(name for name in matrix.blocks if name not in shared and name not in _WHOLE),
    )


def kfac_qualities(comparison: Comparison) -> list[KfacQuality]:
    """Return how good K-FAC is at the last row of a comparison, wherever it stands beside another matrix there.

    Parameters
    ----------
    comparison : Comparison
        Runs side by side.
    """
    row = comparison.rows[-1]
    own = [
        (run.name, found) for run, found in zip(comparison.runs, row.checkpoints, strict=True) if found is not None
    ]
    factored = [(name, found) for name, found in own if found.curvature == KFAC]
    others = [(name, found) for name, found in own if found.curvature != KFAC]
    pairs = [
        kfac_quality(kfac, matrix, names=(name, other), label=row.label, blocks=comparison.blocks)
        for name, kfac in factored
        for other, matrix in others
    ]
    return [pair for pair in pairs if pair is not None]


def _block(name: str, kfac: JudgedSpectrum, matrix: JudgedSpectrum) -> BlockQuality:
    ours, theirs = kfac.blocks[name].measures, matrix.blocks[name].measures
    assert kfac.spectrum is not None
    assert matrix.spectrum is not None
    blocks = kfac.spectrum.block(name), matrix.spectrum.block(name)
    gaps = differences(
        *blocks,
        same_seed=kfac.seed == matrix.seed,
        same_samples=kfac.data_sha256 == matrix.data_sha256,
        known=(ours, theirs),
    )["entropy_gap"]
    apart = floor = None
    if not any(only_trace(block) for block in blocks):
        profiles = [profile(block) for block in blocks]
        apart, floor = distance(*profiles), min(math.sqrt(sum(own.noise for own in profiles)), 1.0)
    return BlockQuality(
        name=name,
        size=blocks[0].size,
        trace=theirs["trace"],
        trace_ratio=ratio(ours["trace"], theirs["trace"]),
        lambda_max_ratio=ratio(ours["lambda_max"], theirs["lambda_max"]),
        gap_difference=gaps,
        distance=apart,
        floor=floor,
    )


def ratio(ours: Estimate, theirs: Estimate) -> Estimate:
    """Return the ratio of a number that is not negative to another, with an interval that holds both of theirs.

    Parameters
    ----------
    ours, theirs : Estimate
        With independent errors.
    """
    if ours.value is None or theirs.value is None:
        return Estimate.unknown(ours.reason or theirs.reason or "one of the numbers is unknown")
    if theirs.value <= 0.0:
        return Estimate.unknown("the matrix's is not positive")
    value = ours.value / theirs.value
    if ours.exact and theirs.exact:
        return Estimate.exactly(value)
    low = None if ours.low is None or theirs.high is None else max(ours.low, 0.0) / theirs.high
    high = None if ours.high is None or theirs.low is None or theirs.low <= 0.0 else ours.high / theirs.low
    return Estimate(value, low, high)


def _middle(blocks: Sequence[BlockQuality]) -> str:
    """Medians over blocks, in words."""
    found = []
    for title, values in (
        ("trace ratio", [block.trace_ratio.value for block in blocks]),
        ("λ_max ratio", [block.lambda_max_ratio.value for block in blocks]),
        ("gap difference", [block.gap_difference.value for block in blocks]),
        ("distance", [block.distance for block in blocks]),
    ):
        known = [value for value in values if value is not None]
        if known:
            found.append(f"{title} {format_number(median(known), 2)}")
    return ", ".join(found)
