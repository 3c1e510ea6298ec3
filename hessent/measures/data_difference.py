"""Differences for the population that the data was drawn from.

Where both runs were measured on the same groups of the same samples, the difference is evaluated without each
group in turn, and its delete-a-group jackknife says how far it would move with other data: what the choice of the
samples does to both runs alike cancels.  Else the two population intervals are taken as independent: on each side
the root of the sum of squares.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.population import DataErrors, data_error, widened
from hessent.spectra.model import BlockSpectrum

Float64Array = NDArray[np.float64]


class DataDifference:
    """Errors of differences between two runs of a block that stem from the choice of the data.

    Parameters
    ----------
    run, reference : BlockSpectrum
        With or without data groups.
    same_samples : bool
        Whether both were measured on the same samples.
    alpha : float
        Rényi order of the entropies.
    tau_rel : float, optional
        Threshold of the ratios relative to max abs(λ).
    """

    def __init__(
        self,
        run: BlockSpectrum,
        reference: BlockSpectrum,
        *,
        same_samples: bool,
        alpha: float = 1.0,
        tau_rel: float | None = None,
    ) -> None:
        self._run, self._alpha = run, alpha
        self._errors: tuple[DataErrors, DataErrors] | None = None
        if same_samples and _same_groups(run, reference):
            self._errors = (
                DataErrors(run, alpha=alpha, tau_rel=tau_rel),
                DataErrors(reference, alpha=alpha, tau_rel=tau_rel),
            )

    def of(self, name: str, found: Estimate, run: Estimate, reference: Estimate) -> Estimate | None:
        """Return the population difference of one measure; None where it is not known of both runs.

        Parameters
        ----------
        name : str
            The measure.
        found : Estimate
            Its difference for this data.
        run, reference : Estimate
            The measure of both runs.
        """
        if run.population is None or reference.population is None:
            return None
        values = self._values(name)
        if values is None or self._run.groups is None:
            return _independent(run.population, reference.population)
        return widened(name, found, data_error(name, values, self._run.groups))

    def _values(self, name: str) -> Float64Array | None:
        """The difference with all the data and without each group. Shape (g + 1,)."""
        if self._errors is None:
            return None
        own, other = (_values(errors, name, self._run.size) for errors in self._errors)
        return None if own is None or other is None else own - other


def _values(errors: DataErrors, name: str, size: int) -> Float64Array | None:
    """One measure of one run with all the data and without each group, by the gap where it follows from that."""
    if name not in ("entropy", "effective_rank"):
        return errors.values(name)
    gaps = errors.values("entropy_gap")
    if gaps is None:
        return None
    entropies = math.log(size) - gaps
    return entropies if name == "entropy" else np.exp(entropies)


def _same_groups(run: BlockSpectrum, reference: BlockSpectrum) -> bool:
    own, other = run.groups, reference.groups
    if own is None or other is None or run.size != reference.size:
        return False
    return np.array_equal(own.items, other.items) and own.sampled_fraction == other.sampled_fraction


def _independent(run: Estimate, reference: Estimate) -> Estimate | None:
    """Difference of two numbers with independent errors."""
    if run.value is None or reference.value is None:
        return None
    value = run.value - reference.value
    return Estimate(
        value,
        value - _beside(run.low, run.value, reference.high, reference.value),
        value + _beside(run.high, run.value, reference.low, reference.value),
    )


def _beside(end: float | None, value: float, other_end: float | None, other_value: float) -> float:
    """How far the difference of two numbers may be off on one side; infinite where an end is open."""
    if end is None or other_end is None:
        return math.inf
    own, other = end - value, other_end - other_value
    return math.sqrt(own * own + other * other)
