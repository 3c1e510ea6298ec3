"""Products and seconds to a trace within 1 % and an entropy gap within 2 %, on nets whose spectra are known.

Ours is `hessent.spectrum` with the smallest budget of a ladder whose median errors over seeds are within both.
Beside it stands plain quadrature as the other tools have it: sign probes, Lanczos with full reorthogonalisation,
the nodes and weights of all probes together.  Its probes and steps are the best of a grid by hindsight, nothing but
its products is counted, and they take the time of the fastest exact product of any other tool.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from benchmarks.clocks import clock_for, clock_name
from benchmarks.costs import best, measured
from benchmarks.figures import Bar, Spread
from benchmarks.models import Case, Workload
from benchmarks.plain_quadrature import functionals, gauss_rules, recurrences
from benchmarks.sections import Section
from exact_nets import KINDS, ExactNet, exact_net
from numpy.typing import NDArray

import hessent

Float64Array = NDArray[np.float64]

_TRACE, _GAP = 0.01, 0.02
_BUDGETS = (50, 150, 300, 500, 1000)
_STEPS = (5, 10, 15, 20, 25, 30, 35, 40)  # of a plain recurrence
_PROBES_AT_A_TIME = 25
_PROBES = 1500
_TIMES = 10.0


@dataclass(frozen=True)
class Reached:
    """The first budget that was enough.

    Attributes
    ----------
    products : int
    trace, gap : float
        Median errors at that budget, relative.
    seconds : float
        Median over seeds; not a number where only products were counted.
    how : str
    """

    products: int
    trace: float
    gap: float
    seconds: float
    how: str


def section(*, seeds: int, rounds: int) -> Section:
    """Measure the three nets.

    Parameters
    ----------
    seeds : int
        Runs per budget.
    rounds : int
        For the cost of one product.
    """
    found = Section(
        "Time to a trace within 1 % and a gap within 2 %",
        [
            f"Medians over {seeds} seeds of the error against the exact spectrum; float64, the whole matrix; the "
            "first budget that is enough. Seconds of hessent: all of `hessent.spectrum`. Seconds of plain "
            "quadrature: its products alone, at the pace of the fastest exact product of another tool. Where it "
            "does not get there within the steps tried, its row is a lower bound. " + clock_name("cpu"),
        ],
    )
    for kind in KINDS:
        net = exact_net(kind)
        shape, classes = tuple(net.inputs.shape[1:]), 10
        work = Workload(Case(kind, "", {}, shape, classes, {}), net.model, net.inputs, net.targets)
        costs = measured(work, work.whole(), vectors=1, rounds=rounds, whole=True)
        fastest = best(costs, ours=False)
        assert fastest is not None
        assert fastest.candidate is not None
        own = ours(net, seeds)
        plain = plainly(net, seeds)
        rows = {"hessent": own, "plain quadrature": plain}
        for name, reached in rows.items():
            found.rows.append({"net": kind, "by": name} | _row(reached, own, fastest.seconds))
        if own and plain:
            # Where it was not reached, the ratios are what it takes at least.
            claims = {
                f"{kind}: plain quadrature needs at least {_TIMES:g} times the products": plain.products
                / own.products,
                f"{kind}: and {_TIMES:g} times the time, at the pace of {fastest.candidate.name}": plain.products
                * fastest.seconds
                / own.seconds,
            }
            found.bars += [Bar(claim, Spread.of([times]), _TIMES, at_least=True) for claim, times in claims.items()]
    return found


def _row(reached: Reached | None, own: Reached | None, pace: float) -> dict[str, object]:
    if reached is None:
        return dict.fromkeys(("products", "seconds", "trace %", "gap %", "products ×", "seconds ×")) | {
            "how": "not reached"
        }
    seconds = reached.products * pace if np.isnan(reached.seconds) else reached.seconds
    return {
        "products": reached.products,
        "seconds": seconds,
        "trace %": 100 * reached.trace,
        "gap %": 100 * reached.gap,
        "products ×": reached.products / own.products if own else None,
        "seconds ×": seconds / own.seconds if own else None,
        "how": reached.how,
    }


def ours(net: ExactNet, seeds: int) -> Reached | None:
    """Climb the ladder of `max_matvecs`."""
    truth, clock = _truth(net), clock_for("cpu")
    for budget in _BUDGETS:
        found, seconds = [], []
        for seed in range(seeds):
            batches = [(net.inputs, net.targets)]
            problem = hessent.Problem(net.model, "cross-entropy", batches, dtype=net.inputs.dtype)
            start = clock()
            spectrum = hessent.spectrum(
                problem, blocks="full", method="lanczos", max_matvecs=budget, seed=seed, engine="auto"
            )
            seconds.append(clock() - start)
            estimates = spectrum.measures()["full"]
            values = {name: estimates[name].value for name in truth}
            found.append({name: np.nan if value is None else value for name, value in values.items()})
        trace, gap = (_error(found, truth, name) for name in truth)
        if trace <= _TRACE and gap <= _GAP:
            return Reached(budget, trace, gap, statistics.median(seconds), f"--max-matvecs {budget}")
    return None


def plainly(net: ExactNet, seeds: int) -> Reached | None:
    """Find the fewest probes for the trace, then the fewest steps for the gap with these probes.

    The trace of a Gauss rule is vᵀHv whatever its steps, so that no smaller product of the two would do.
    """
    truth, size = _truth(net), len(net.eigenvalues)
    starts = _sign_vectors(net, seeds)
    forms = [np.cumsum(net.eigenvalues @ vectors**2) for vectors in starts]
    for probes in range(_PROBES_AT_A_TIME, _PROBES + 1, _PROBES_AT_A_TIME):
        trace = _error([{"trace": form[probes - 1] / probes} for form in forms], truth, "trace")
        if trace <= _TRACE:
            break
    else:
        return None
    coefficients = [_recurrences(net.eigenvalues, vectors[:, :probes]) for vectors in starts]
    for steps in _STEPS:
        figures = []
        for alphas, betas in coefficients:
            nodes, weights = gauss_rules(alphas, betas, steps)
            figures.append(functionals(nodes.ravel(), weights.ravel() * size / probes, size))
        gap = _error(figures, truth, "entropy_gap")
        if gap <= _GAP:
            return Reached(probes * steps, trace, gap, np.nan, f"{probes} probes × {steps} steps")
    return Reached(probes * steps, trace, gap, np.nan, f"NOT reached by {probes} probes × {steps} steps")


def _sign_vectors(net: ExactNet, seeds: int) -> list[Float64Array]:
    """Return random sign vectors, in coordinates of the eigenvectors, as columns (n, probes) per seed."""
    vectors = np.linalg.eigh(net.matrix)[1]
    found = []
    for seed in range(seeds):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(vectors), _PROBES))
        found.append(vectors.T @ signs)
    return found


def _recurrences(eigenvalues: Float64Array, starts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Run to the most steps, some probes at a time."""
    parts = [
        recurrences(eigenvalues, starts[:, first : first + _PROBES_AT_A_TIME], max(_STEPS))
        for first in range(0, starts.shape[1], _PROBES_AT_A_TIME)
    ]
    alphas, betas = zip(*parts, strict=True)
    return np.concatenate(alphas), np.concatenate(betas)


def _truth(net: ExactNet) -> dict[str, float]:
    """Return exact trace and gap."""
    exact = functionals(net.eigenvalues, np.ones_like(net.eigenvalues), len(net.eigenvalues))
    return {name: exact[name] for name in ("trace", "entropy_gap")}


def _error(found: list[dict[str, float]], truth: dict[str, float], name: str) -> float:
    """Return the median relative error of one measure over seeds."""
    return statistics.median(abs(one[name] - truth[name]) / abs(truth[name]) for one in found)
