"""Differences of measures between two runs, with the interval of the difference itself.

Two runs with one seed draw the same start vectors for a block, and on the same samples most of what random probes
get wrong is wrong in both.  With D the difference of a measure, run minus reference, over p probes of m steps,

    D ± [ t_{p−1, 0.975} · (jackknife standard error) + c · max(|D − D_{m/2}|, |D − D_{0.7m}|) ]:

probe i is left out of both runs at once, both are cut to the same share of their steps, and errors that both have
cancel.  Only the products' noise, which does not cancel, counts twice.  On matrices a per cent apart at every
scale of their spectrum the intervals are 8 to 40 times narrower than with independent errors; two steps of Adam
apart on a trained net 3 to 7 times, 10 to 100 steps apart 2 to 3 times.

The jackknife assumes nothing of how alike the runs are: its interval also holds for unrelated ones, where it tells
no more than

    D ± [ √(sampling² + sampling²) + (rest + rest) ],

which is taken wherever pairing does not make the interval narrower by a third, or cannot be had: with other seeds,
samples, sizes or numbers of probes.  So no interval is wider than that.  Taking the narrower of two that each hold
costs little: over 60 to 100 seeds each of 16 pairs, near and unrelated, 95 to 100 % held the true difference.

Ratios are certified enclosures, and one that holds both runs' would be no narrower.  Where the probes of both share
a Krylov space, the middles are compared instead, in the same way as above with c = 1: the place of the node nearest
to τ, which an enclosure has to allow for, is much the same in both.  One eigenvalue more may cross τ unseen.  The
extremes and condition numbers have no sampling error: their residuals add.  Exact blocks have exact differences.
Blocks with bitwise the same coefficients are one matrix: no measure differs.

For the population the data was drawn from, differences are formed for each group of the data left out, where both
runs have the same groups; else the errors of both data sets count as independent.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from hessent.estimate import Estimate
from hessent.measures.data_difference import DataDifference
from hessent.measures.difference import Difference, apart_from, made_of, unknown
from hessent.measures.entropy import gap_functional
from hessent.measures.functionals import only_trace
from hessent.measures.gradient import gradient_differences
from hessent.measures.pairing import identical, obstacle_to_pairing
from hessent.measures.ratios import ratio_replicates
from hessent.measures.reach import reaches
from hessent.measures.registry import compute_measures, measure_names
from hessent.measures.replicates import Replicates
from hessent.measures.trace import abs_trace_replicates, trace_replicates
from hessent.spectra.model import BlockSpectrum

_WORTHWHILE = 2 / 3  # of the width by independent errors; unrelated runs come near that by chance
_ROUNDING = 1e-12  # relative; of a few hundred float64 recurrence steps and the eigenvalues of their matrix
_BOUNDS = "a difference of two lower bounds bounds nothing"
_NOT_WORTHWHILE = "pairing would narrow it by less than a third"
_ENCLOSED = "enclosures of both runs add"
_DERIVED = "the bound on κ follows from the gap of each run"


def differences(
    run: BlockSpectrum,
    reference: BlockSpectrum,
    *,
    same_seed: bool,
    same_samples: bool,
    alpha: float = 1.0,
    tau_rel: float | None = None,
    known: tuple[Mapping[str, Estimate], Mapping[str, Estimate]] | None = None,
) -> dict[str, Difference]:
    """Return the difference of every measure of a block between two runs.

    Parameters
    ----------
    run, reference : BlockSpectrum
        The same block of two runs.
    same_seed, same_samples : bool
        Whether the runs had the same seed, and the same fingerprint of their data.
    alpha : float
        Rényi order of `entropy`, `entropy_gap` and `effective_rank`.
    tau_rel : float, optional
        Threshold of the ratios relative to max abs(λ) of each run; the ratios of each are counted at its own τ.
    known : tuple of mappings, optional
        Measures of both at these settings, where they have been computed already.

    Returns
    -------
    dict of str to Difference
        By name, in table order.  With the arguments swapped, the same with all signs changed.
    """
    options: dict[str, Any] = {"alpha": alpha, "tau_rel": tau_rel}
    own, other = known or (compute_measures(run, **options), compute_measures(reference, **options))
    of_gradient = gradient_differences(run, reference, own, other, same_seed=same_seed, same_samples=same_samples)
    if identical(run, reference):
        return {name: _zero(own[name]) for name in measure_names() if name not in of_gradient} | of_gradient
    obstacle = obstacle_to_pairing(run, reference, same_seed=same_seed, same_samples=same_samples)
    paired = {} if obstacle is not None else _paired(run, reference, own, other, **options)
    sides = reaches(run, own, **options), reaches(reference, other, **options)
    data = DataDifference(run, reference, same_samples=same_samples, **options)
    found: dict[str, Difference] = {}
    for name in measure_names():
        if name in of_gradient:
            found[name] = of_gradient[name]
            continue
        a, b = own[name], other[name]
        if a.value is None or b.value is None:
            found[name] = unknown(a, b)
        elif name == "condition_lower_ritz":
            found[name] = Difference(None, None, None, reason=_BOUNDS)
        else:
            apart = apart_from(a, b, sides[0][name], sides[1][name])
            chosen = _chosen(name, apart, paired.get(name), obstacle, exact=a.exact and b.exact)
            found[name] = replace(chosen, population=data.of(name, chosen.estimate, a, b))
    return found


def difference(
    run: BlockSpectrum,
    reference: BlockSpectrum,
    measure: str,
    *,
    same_seed: bool,
    same_samples: bool,
    alpha: float = 1.0,
    tau_rel: float | None = None,
) -> Difference:
    """Return the difference of one measure of a block between two runs, as `differences` does.

    Raises
    ------
    KeyError
        If there is no such measure.
    """
    found = differences(
        run, reference, same_seed=same_seed, same_samples=same_samples, alpha=alpha, tau_rel=tau_rel
    )
    return found[measure]


def _paired(
    run: BlockSpectrum,
    reference: BlockSpectrum,
    own: Mapping[str, Estimate],
    other: Mapping[str, Estimate],
    *,
    alpha: float,
    tau_rel: float | None,
) -> dict[str, float]:
    """Half-widths of the differences of those measures that are averages over the probes, or functions of such."""
    if run.eigenvalues is not None:
        return {}
    shown = {
        name: a - b for name in own if (a := own[name].value) is not None and (b := other[name].value) is not None
    }
    ours, theirs = (_replicates(block, shown, alpha, tau_rel) for block in (run, reference))
    same_steps = not only_trace(run) and _num_steps(run) == _num_steps(reference)
    half_widths = {}
    for name in ours.keys() & theirs.keys():
        spread = ours[name].minus(theirs[name], same_steps=same_steps).spread()
        # What is shown may have been cut to what is possible at all.
        moved = abs(shown[name] - spread.value)
        rounding = _ROUNDING * max(abs(ours[name].value), abs(theirs[name].value))
        half_widths[name] = spread.half_width + moved + rounding
    return half_widths


def _replicates(
    block: BlockSpectrum, names: Container[str], alpha: float, tau_rel: float | None
) -> dict[str, Replicates]:
    """Replicates of the measures of a sampled block among `names` that have them."""
    found = {"trace": trace_replicates(block)} if "trace" in names else {}
    if "abs_trace" in names:
        found["abs_trace"] = abs_trace_replicates(block)
    if "entropy_gap" in names and alpha > 0.0:
        sums, functional = gap_functional(block, alpha)
        gap, log_size = sums.replicates(functional), math.log(block.size)
        found["entropy_gap"] = gap
        found["entropy"] = gap.through(lambda nats: log_size - nats)
        found["effective_rank"] = gap.through(lambda nats: math.exp(log_size - nats))
    if "zero_ratio" in names:
        found |= ratio_replicates(block, tau_rel)
    return found


def _num_steps(block: BlockSpectrum) -> int:
    return 0 if block.probes is None else block.probes.num_steps


def _chosen(
    name: str, apart: Estimate, half_width: float | None, obstacle: str | None, *, exact: bool
) -> Difference:
    """Take the paired interval where it tells more."""
    if exact:
        assert apart.value is not None
        return made_of(Estimate.exactly(apart.value), exact=True, paired=obstacle is None, reason=obstacle)
    if obstacle is not None:
        return made_of(apart, reason=obstacle)
    if half_width is None:
        return made_of(apart, reason=_DERIVED if name == "condition_lower_entropy" else _ENCLOSED)
    # Cut at the ends of what is possible, one of the two sides may be short already.
    widths = apart.half_width
    if not math.isfinite(half_width) or (widths is not None and half_width > _WORTHWHILE * widths):
        return made_of(apart, reason=_NOT_WORTHWHILE)
    assert apart.value is not None
    return made_of(
        Estimate(apart.value, apart.value - half_width, apart.value + half_width), paired=True, reason=None
    )


def _zero(own: Estimate) -> Difference:
    """The difference of a number to itself."""
    if own.value is None:
        return unknown(own, own)
    population = None if own.population is None else Estimate(0.0, 0.0, 0.0)
    return Difference(0.0, 0.0, 0.0, own.exact, paired=True, population=population)
