"""Smooth functionals of a spectrum, with the interval of a sampled one.

A functional is a smooth function F of a few spectral sums S_i = Σ_λ f_i(λ).  For an exact block the sums run over
the eigenvalues.  For a sampled block, with outliers θ_o and the rules of p probes in dimension d,

    S_i = Σ_o f_i(θ_o) + d · mean over probes of Σ_j w_j f_i(θ_j),

each the median over the last twelve Gauss rules: functions with a kink at zero are off by an amount that swings
with the place of the node nearest to zero, and where much of the mass lies there, a few lengths are far off.  On a
bulk over eight decades the median has a fourth of the bias that their mean has; on exact Hessians they are equals.
The 95 % interval is

    F ± [ t_{p−1, 0.975} · (jackknife standard error over probes) + c · max(|F_m − F_{m/2}|, |F_m − F_{0.7m}|) ].

The second term is the truncation of the quadrature, which all probes share; c = 2.5: on known spectra of 1e8
eigenvalues over many decades, recurrences of 40 to 200 steps were off by up to 2.1 times that difference.

Where the probes share a Krylov space, F_{m/2} and F_{0.7m} are those of the space cut short, outliers included, and
c = 0.5: on exact Hessians of small trained nets further steps changed the gap by about 0.3 of that difference; c =
1 for orders below 1, which live on the smallest eigenvalues and converge like 1/m.  The Radau rule with a node at
zero gives such functions too little mass where the Gauss rules mostly give too much, so for these orders F is taken
midway between the two, and half their difference joins the second term.  The first term is multiplied by
1.3 there: eigenvalues converge first where the probes have most of them, so what is left to the probes is a little
less than fair (0.4 standard deviations of the trace on a power law).

The products' noise adds a random symmetric matrix of root mean square eigenvalue f: λ is seen as √(λ² + f²) on
average, and |F(√(λ² + f²)) − F(λ)| is added to the half-width of a sampled block.  An exact block stays exact: its
numbers are those of the very matrix that the products made up, for this data up to rounding.

Eigenvalues are divided by the block's scale before any function is applied, so that no power or logarithm over- or
underflows for operators as small as 1e-30 or as large as 1e30.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hessent.estimate import Estimate
from hessent.measures.quadrature import Rule, exact_rules
from hessent.measures.radau import rules_with_zero
from hessent.measures.replicates import Replicates, Spread
from hessent.measures.spectral_functions import SpectralFunction, under_noise
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import Outliers, ProbeRuns

Float64Array = NDArray[np.float64]
Functional = Callable[[Float64Array], float]

_RULES = 12  # of which the median is taken
_SHARES = (0.7, 0.5)
_SEPARATE_FACTOR = 2.5
_JOINT_FACTOR = 0.5
JOINT_SAMPLING = 1.3  # by which the scatter of probes that share a Krylov space is multiplied
ONLY_TRACE = "only the trace was asked for"


def through(own: Estimate, function: Callable[[float], float], *, falling: bool = False) -> Estimate:
    """Return a monotonic function of an Estimate, its interval taken through the function too."""
    value, low, high = (None if end is None else function(end) for end in (own.value, own.low, own.high))
    return Estimate(value, high if falling else low, low if falling else high, own.exact, own.reason)


def only_trace(block: BlockSpectrum) -> bool:
    """Whether nothing but the trace of a block was estimated."""
    return block.trace_estimates is not None


def scale_of(block: BlockSpectrum) -> float:
    """Return the largest abs(λ) known of a block, in the unit of its eigenvalues; 1.0 for a zero matrix."""
    largest = max((abs(value) for value, _ in extremes(block)), default=0.0)
    return largest if largest > 0.0 else 1.0


def extremes(block: BlockSpectrum) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (value, residual) of the largest and of the smallest eigenvalue; residual 0 where exact.

    Not numbers where only the trace was estimated.
    """
    if only_trace(block):
        return (math.nan, math.nan), (math.nan, math.nan)
    if block.eigenvalues is not None:
        return (float(block.eigenvalues[-1]), 0.0), (float(block.eigenvalues[0]), 0.0)
    assert block.lambda_max is not None
    assert block.lambda_min is not None
    return block.lambda_max, block.lambda_min


class SpectralSums:
    """Spectral sums of one block, ready for any smooth functional of them.

    Parameters
    ----------
    block : BlockSpectrum
        Exact or sampled.
    functions : sequence of callables
        f_1 … f_r, applied to arrays of eigenvalues divided by `scale_of(block)`.
    slow : bool
        Whether the functions live on the smallest eigenvalues, which rules resolve last.
    """

    def __init__(self, block: BlockSpectrum, functions: Sequence[SpectralFunction], *, slow: bool = False) -> None:
        self._scale = scale_of(block)
        floor = block.noise_floor / self._scale
        # The functions themselves, then what they become under noise.
        self._functions = [*functions, *(under_noise(function, floor) for function in functions)]
        self._exact: Float64Array | None = None
        if block.eigenvalues is not None:
            self._exact = self._apply(block.eigenvalues, np.ones(block.size))
            return
        assert block.probes is not None
        self._closed = bool((block.probes.last_betas == 0.0).all())
        self._factor = _factor(block, slow)
        self._inflation = JOINT_SAMPLING if block.shorter else 1.0
        self._slow = slow
        self._fixed, self._sampled = self._sums(block.size, block.outliers, block.probes)
        self._shorter = [] if self._closed else self._cut(block)
        self._sides: list[Float64Array] = []
        if slow and not self._closed:
            _, dimension = self._parts(block.size, block.outliers)
            steps = block.probes.num_steps
            self._sides = [
                self._fixed + sums.mean(axis=0)
                for sums in (
                    self._median(block.probes, steps, dimension),
                    self._with_zero(block.probes, steps, dimension),
                )
            ]

    def spread(self, functional: Functional, *, truncated: bool = True) -> Spread:
        """Evaluate a functional of the sums and the parts of its half-width.

        A functional that every Gauss rule gives exactly (the trace) is not `truncated`.
        """
        if self._exact is not None:
            value = functional(self._exact)
            return Spread(value, 0.0, 0.0, abs(functional(self._noisy(self._exact)) - value))
        return self.replicates(functional, truncated=truncated).spread()

    def replicates(self, functional: Functional, *, truncated: bool = True) -> Replicates:
        """Evaluate a functional of the sums of a sampled block, as `spread` does, with and without each probe."""
        full = self._fixed + self._sampled.mean(axis=0)
        count, total = len(self._sampled), self._sampled.sum(axis=0)
        rest = [self._fixed + (total - row) / (count - 1) for row in self._sampled] if count > 1 else []
        shown = truncated and bool(self._shorter)
        value = functional(full)
        return Replicates(
            value=value,
            left_out=np.array([functional(sums) for sums in rest]),
            cut=np.array([functional(sums) for sums in self._shorter if shown]),
            sides=np.array([functional(sums) for sums in self._sides if shown]),
            precision=abs(functional(self._noisy(full)) - value),
            factor=self._factor,
            inflation=self._inflation,
        )

    def estimate(self, functional: Functional, *, floor: float = -math.inf, ceiling: float = math.inf) -> Estimate:
        """Return the functional as an Estimate, its interval cut to what is possible at all."""
        spread = self.spread(functional)
        value = min(max(spread.value, floor), ceiling)
        if self._exact is not None:
            return Estimate.exactly(value)
        low, high = spread.value - spread.half_width, spread.value + spread.half_width
        return Estimate(value, min(max(low, floor), ceiling), min(max(high, floor), ceiling))

    def _cut(self, block: BlockSpectrum) -> list[Float64Array]:
        """Whole sums (functions,) after fewer steps: of the joint space, else of each recurrence cut by itself."""
        assert block.probes is not None
        if block.shorter:
            parts = [self._sums(block.size, cut.outliers, cut.probes) for cut in block.shorter]
        else:
            parts = [self._sums(block.size, block.outliers, block.probes, share) for share in _SHARES]
        return [fixed + sampled.mean(axis=0) for fixed, sampled in parts]

    def _sums(
        self, size: int, outliers: Outliers | None, probes: ProbeRuns, share: float = 1.0
    ) -> tuple[Float64Array, Float64Array]:
        """Sums over the outliers (functions,), and over the complement per probe (p, functions).

        The latter come from the rules up to a share of the steps.
        """
        fixed, dimension = self._parts(size, outliers)
        longest = max(round(share * probes.num_steps), 1)
        if self._closed and share == 1.0:
            # At the end of closed recurrences the rules are the measures themselves: shorter ones would spoil them.
            return fixed, self._per_probe(exact_rules(probes, longest, dimension), dimension)
        sampled = self._median(probes, longest, dimension)
        if self._slow:
            sampled = (sampled + self._with_zero(probes, longest, dimension)) / 2
        return fixed, sampled

    def _parts(self, size: int, outliers: Outliers | None) -> tuple[Float64Array, int]:
        """Sums over the outliers (functions,), and the dimension of their complement."""
        known = outliers.values if outliers is not None else np.zeros(0)
        return self._apply(known, np.ones(len(known))), size - len(known)

    def _median(self, probes: ProbeRuns, longest: int, dimension: int) -> Float64Array:
        """Medians over the last Gauss rules, per probe (p, functions)."""
        # Of a short run the rules before its second half are too far from the last to stand beside it.
        lengths = range(max(longest - _RULES, longest // 2) + 1, longest + 1)
        sums = [self._per_probe(exact_rules(probes, length, dimension), dimension) for length in lengths]
        medians: Float64Array = np.median(sums, axis=0)
        return medians

    def _with_zero(self, probes: ProbeRuns, length: int, dimension: int) -> Float64Array:
        """Sums by the rules that have a node at zero, per probe (p, functions)."""
        return self._per_probe(rules_with_zero(probes, length), dimension)

    def _per_probe(self, rules: Sequence[Rule], dimension: int) -> Float64Array:
        return np.array([dimension * self._apply(rule.nodes, rule.weights) for rule in rules])

    def _noisy(self, sums: Float64Array) -> Float64Array:
        """The second half of the sums: those under noise."""
        return sums[len(sums) // 2 :]

    def _apply(self, values: Float64Array, weights: Float64Array) -> Float64Array:
        scaled = values / self._scale
        return np.array([float((weights * function(scaled)).sum()) for function in self._functions])


def _factor(block: BlockSpectrum, slow: bool) -> float:
    """How much of the difference to fewer steps may still be missing."""
    assert block.probes is not None
    if block.shorter:
        return 1.0 if slow else _JOINT_FACTOR
    return _SEPARATE_FACTOR
