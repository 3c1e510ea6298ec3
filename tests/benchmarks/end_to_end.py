"""Products and seconds to a trace within 1 % and an entropy gap within 2 %, on nets whose spectra are known.

Ours is `hessent.spectrum` with the smallest budget of a ladder whose median errors over seeds are within both.
Beside it stands plain quadrature as the other tools have it: sign probes, Lanczos with full reorthogonalisation,
the nodes and weights of all probes together.  Its probes and steps are the best of a grid by hindsight, nothing but
its products is counted, and they take the time of the fastest exact product of any other tool.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from benchmarks.figures import Bar, Spread
from benchmarks.models import Case, Workload
from benchmarks.plain_quadrature import functionals, quadratures
from benchmarks.product_cost import best, measured
from benchmarks.sections import Section
from exact_nets import KINDS, ExactNet, exact_net
from numpy.typing import NDArray

import hessent

Float64Array = NDArray[np.float64]

_TRACE, _GAP = 0.01, 0.02
_BUDGETS = (30, 50, 75, 100, 150, 200, 300, 500, 1000)
_STEPS = (20, 30, 15, 10)  # of a plain recurrence, the likeliest first: what is found bounds the others
_PROBES_AT_A_TIME = 25
_PROBES = 2000
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
            "quadrature: its products alone, at the pace of the fastest exact product of another tool. Gap "
            "alone: for users who take the trace from another estimator (XTrace, Hutch++), which is not counted.",
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
        plain, gap_alone = plainly(net, seeds)
        rows = {"hessent": own, "plain quadrature": plain, "plain quadrature, gap alone": gap_alone}
        for name, reached in rows.items():
            found.rows.append({"net": kind, "by": name} | _row(reached, own, fastest.seconds))
        if own and plain:
            claim = f"{kind}: at least {_TIMES:g} times less time than plain quadrature by {fastest.candidate.name}"
            faster = plain.products * fastest.seconds / own.seconds
            found.bars.append(Bar(claim, Spread.of([faster]), _TIMES, at_least=True))
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
    truth = _truth(net)
    for budget in _BUDGETS:
        found, seconds = [], []
        for seed in range(seeds):
            batches = [(net.inputs, net.targets)]
            problem = hessent.Problem(net.model, "cross-entropy", batches, dtype=net.inputs.dtype)
            start = time.perf_counter()
            spectrum = hessent.spectrum(
                problem, blocks="full", method="lanczos", max_matvecs=budget, seed=seed, engine="auto"
            )
            seconds.append(time.perf_counter() - start)
            estimates = spectrum.measures()["full"]
            values = {name: estimates[name].value for name in truth}
            found.append({name: np.nan if value is None else value for name, value in values.items()})
        trace, gap = (_error(found, truth, name) for name in truth)
        if trace <= _TRACE and gap <= _GAP:
            return Reached(budget, trace, gap, statistics.median(seconds), f"--max-matvecs {budget}")
    return None


def plainly(net: ExactNet, seeds: int) -> tuple[Reached | None, Reached | None]:
    """Return the cheapest number of probes and steps for both measures, and for the gap alone."""
    truth = _truth(net)
    vectors = np.linalg.eigh(net.matrix)[1]
    both: Reached | None = None
    alone: Reached | None = None
    for steps in _STEPS:
        for probes, found in _growing(net.eigenvalues, vectors, steps, seeds):
            trace, gap = (_error(found, truth, name) for name in truth)
            reached = Reached(probes * steps, trace, gap, np.nan, f"{probes} probes × {steps} steps")
            if both and reached.products >= both.products:
                break
            if gap <= _GAP and (alone is None or reached.products < alone.products):
                alone = reached
            if gap <= _GAP and trace <= _TRACE:
                both = reached
    return both, alone


def _growing(
    eigenvalues: Float64Array, vectors: Float64Array, steps: int, seeds: int
) -> Iterator[tuple[int, list[dict[str, float]]]]:
    """Yield growing numbers of probes, with the figures they give for every seed."""
    size = len(eigenvalues)
    generators = [np.random.default_rng([seed, steps]) for seed in range(seeds)]
    kept: list[list[tuple[Float64Array, Float64Array]]] = [[] for _ in generators]
    for probes in range(_PROBES_AT_A_TIME, _PROBES + 1, _PROBES_AT_A_TIME):
        figures = []
        for generator, parts in zip(generators, kept, strict=True):
            signs = generator.choice([-1.0, 1.0], size=(size, _PROBES_AT_A_TIME))
            parts.append(quadratures(eigenvalues, vectors.T @ signs, steps))
            nodes, weights = (np.concatenate(arrays).ravel() for arrays in zip(*parts, strict=True))
            figures.append(functionals(nodes, weights * size / probes, size))
        yield probes, figures


def _truth(net: ExactNet) -> dict[str, float]:
    """Return exact trace and gap."""
    exact = functionals(net.eigenvalues, np.ones_like(net.eigenvalues), len(net.eigenvalues))
    return {name: exact[name] for name in ("trace", "entropy_gap")}


def _error(found: list[dict[str, float]], truth: dict[str, float], name: str) -> float:
    """Return the median relative error of one measure over seeds."""
    return statistics.median(abs(one[name] - truth[name]) / abs(truth[name]) for one in found)
