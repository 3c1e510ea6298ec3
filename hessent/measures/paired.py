"""Differences of measures between two runs, with the interval of the difference itself.

Two runs with one seed draw the same start vectors for a block, and on the same samples most of what random probes
get wrong is wrong in both.  With D the difference of a measure, run minus reference, over p probes of m steps,

    D ± [ t_{p−1, 0.975} · (jackknife standard error) + c · max(|D − D_{m/2}|, |D − D_{0.7m}|) ]:

probe i is left out of both runs at once, both are cut to the same share of their steps, and errors that both have
cancel.  Only the products' noise, which does not cancel, counts twice.

Where both files hold the joint Krylov space of the probes (`joint_sums`, `joint_differences`), D is what these
spaces tell of the difference instead, with the smaller of two sampling errors, and its interval is

    D ± √[ (1.3 · t · standard error)² + (c · max(|D − D_{m/2}|, |D − D_{0.7m}|))² ],

the standard error from the probes and from every pair of them, so with a smaller t.  Between two runs the
truncation has either sign, so it adds in squares; 1.3 is that of `functionals`.

**What it gains**, in width over independent errors at the same products (5 probes; dense Hessians of nets
trained on digits, Adam steps apart; before joint spaces were kept in brackets):

    1 step    trace 4–12 (3–4)      gap 3.3–9 (1.8–2.5)    ratios 2.4–7 (1–3)
    5 steps   trace 2.2–4 (1.6)     gap 2.6–5 (1.3–1.8)    ratios 1–3.4 (1–2)
    10, 30    trace 1.6–3.5 (1–1.6) gap 2–4.7 (1–1.7)      ratios 1–2.5 (1–2.2)

The ends of each range are nets of 2,200 and 2,610 parameters (300 products) and of 910 (250); of the ratios, the
shares of few eigenvalues gain least.  Over 60 seeds on each of the three, 1 to 30 steps apart, 93 to 100 % of the
intervals held the true difference; between near matrices of 160 to 600 rows 95 to 100 % (400 seeds, 60 to 150
products); between unrelated nets and unrelated matrices 98 to 100 %.

**What limits it.**  Ten steps apart the eigenvectors below the outliers are others: of the first 150, 55 to 70
% of the space is common, and what deflation leaves of both Hessians correlates by 0.3 to 0.7 (0.92 to 0.95 one
step apart). The sampling error of the difference is then 1.2 to 1.8 times smaller than independent ones,
whatever is done with the same products; the rest of the gain is that of the t quantile and of adding in
squares.  Were the deflated vectors of both runs projected out of both, which takes products with the other
run's vectors, it would be 1.9 to 2.8 times.

Neither assumes anything of how alike the runs are: the intervals also hold for unrelated ones, where they tell
little more than

    D ± [ √(sampling² + sampling²) + (rest + rest) ],

which is taken wherever pairing does not make the interval narrower by a third, or cannot be had: with other
seeds, samples, sizes or numbers of probes.  So no interval is wider than that.  Taking the narrower of two that
each hold costs little.

Ratios are certified enclosures, and one that holds both runs' would be no narrower.  Where the probes of both
share a Krylov space, the joint spaces are compared instead (without them the enclosures' middles), in the same
way as above with c = 1: the place of the node nearest to τ, which an enclosure has to allow for, is much the
same in both.  Its sign is that of the bulk around τ and not chance, so it adds as it is.  One eigenvalue more may
cross τ unseen.  The extremes and condition numbers have no sampling
error: their residuals add.  Exact blocks have exact differences. Blocks with bitwise the same coefficients are
one matrix: no measure differs.

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
from hessent.measures.functionals import JOINT_SAMPLING, only_trace
from hessent.measures.gradient import gradient_differences
from hessent.measures.joint_differences import joint_differences
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
) -> dict[str, tuple[float, float]]:
    """Differences, with their half-widths, of measures that are averages over the probes or functions of such."""
    if run.eigenvalues is not None:
        return {}
    shown = {
        name: a - b for name in own if (a := own[name].value) is not None and (b := other[name].value) is not None
    }
    ours, theirs = (_replicates(block, shown, alpha, tau_rel) for block in (run, reference))
    same_steps = not only_trace(run) and _num_steps(run) == _num_steps(reference)
    joint = joint_differences(run, reference, ours.keys() & theirs.keys(), alpha, tau_rel)
    found = {}
    for name in ours.keys() & theirs.keys():
        spread = ours[name].minus(theirs[name], same_steps=same_steps).spread()
        rounding = _ROUNDING * max(abs(ours[name].value), abs(theirs[name].value))
        if name in joint:
            value, sampling = joint[name].value, JOINT_SAMPLING * joint[name].sampling
            resolution = joint[name].resolution
            if resolution > 0.0:  # of a ratio
                half_width = sampling + math.hypot(spread.quadrature, resolution)
            else:
                half_width = math.hypot(sampling, spread.quadrature) + spread.precision
        else:
            # What is shown may have been cut to what is possible at all.
            value = shown[name]
            half_width = spread.half_width + abs(value - spread.value)
        found[name] = value, half_width + rounding
    return found


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
    name: str, apart: Estimate, paired: tuple[float, float] | None, obstacle: str | None, *, exact: bool
) -> Difference:
    """Take the paired interval where it tells more."""
    if exact:
        assert apart.value is not None
        return made_of(Estimate.exactly(apart.value), exact=True, paired=obstacle is None, reason=obstacle)
    if obstacle is not None:
        return made_of(apart, reason=obstacle)
    if paired is None:
        return made_of(apart, reason=_DERIVED if name == "condition_lower_entropy" else _ENCLOSED)
    # Cut at the ends of what is possible, one of the two sides may be short already.
    widths = apart.half_width
    value, half_width = paired
    if not math.isfinite(half_width) or (widths is not None and half_width > _WORTHWHILE * widths):
        return made_of(apart, reason=_NOT_WORTHWHILE)
    return made_of(Estimate(value, value - half_width, value + half_width), paired=True, reason=None)


def _zero(own: Estimate) -> Difference:
    """The difference of a number to itself."""
    if own.value is None:
        return unknown(own, own)
    population = None if own.population is None else Estimate(0.0, 0.0, 0.0)
    return Difference(0.0, 0.0, 0.0, own.exact, paired=True, population=population)
