"""What one product with every layer's block costs, all blocks once, in gradients."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.clocks import clock_name
from benchmarks.costs import DEVIATION, against, best, chosen_by_default, measured, row
from benchmarks.figures import Bar, Spread
from benchmarks.models import CASES, workload
from benchmarks.sections import Section

_SHARE = 2  # of the case's batch: some tools take minutes for all blocks of a full one


def section(device: str, names: Sequence[str], *, rounds: int) -> Section:
    """Measure one product with each of the L layer blocks.

    Parameters
    ----------
    device : str
    names : sequence of str
        Of the cases.
    rounds : int
    """
    found = Section(
        "All layer blocks once",
        [
            f"One product with the diagonal block of every layer, cost of all together in plain gradients of the "
            f"same batch, one vector per block; L/2 is the bar. {clock_name(device)} {DEVIATION}",
            "Tools without block products (PyHessian) are missing; hessian-eigenthings filters by parameter, "
            "curvlinops takes block sizes. Calls of more than 3 s take part in 2 rounds.",
        ],
    )
    for name in names:
        case = CASES[name]
        work = workload(case, device, samples=max(case.batch[device] // _SHARE, 1))
        blocks = work.layers()
        costs = measured(work, blocks, vectors=1, rounds=rounds, whole=False)
        half = len(blocks) / 2
        for cost in costs:
            kind = {"model": name, "samples": len(work.inputs), "blocks L": len(blocks), "L/2": half}
            found.rows.append(kind | row(cost))
        own, other = chosen_by_default(costs) or best(costs, ours=True), best(costs, ours=False)
        if own is not None:
            claim = f"{name}: all {len(blocks)} blocks once cost at most L/2 = {half:g} gradients"
            found.bars.append(Bar(claim, Spread.of(own.per_round), half))
            found.bars += against(name, own, other, 0.5)
    return found
