"""What a product with the whole Hessian costs, by every engine and every installed tool; the share of the floor."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.clocks import clock_name
from benchmarks.costs import DEVIATION, Cost, against, best, chosen_by_default, measured, row
from benchmarks.figures import Bar, Spread
from benchmarks.models import CASES, workload
from benchmarks.sections import Section


def section(device: str, names: Sequence[str], *, rounds: int, vectors: int) -> Section:
    """Measure products with the whole matrix.

    Parameters
    ----------
    device : str
    names : sequence of str
        Of the cases.
    rounds : int
    vectors : int
        Per call, for candidates that take several at once and for all others one after another.
    """
    found = Section(
        "Product with the whole Hessian",
        [
            f"Cost per vector in plain gradients of the same batch (forward and backward, default attention "
            f"kernels), median (least–greatest) of the rounds; {vectors} vectors per call where that shares work, "
            f"else one. {clock_name(device)} {DEVIATION}",
            "Of one tool's ways, those that cannot be its best take part in 2 rounds; all others in all. "
            "PyHessian keeps its graph where the data is one batch, as here; with a loader it builds one a vector.",
        ],
    )
    for name in names:
        work = workload(CASES[name], device)
        costs = measured(work, work.whole(), vectors=vectors, rounds=rounds, whole=True)
        for cost in costs:
            found.rows.append({"model": name, "samples": len(work.inputs), **row(cost)})
        found.bars += _bars(name, device, costs, vectors)
    return found


def _bars(name: str, device: str, costs: Sequence[Cost], vectors: int) -> list[Bar]:
    own, other = chosen_by_default(costs) or best(costs, ours=True), best(costs, ours=False)
    if own is None:
        return []
    if device == "cuda":
        floor = 2 + 1 / vectors
        shares = [floor / cost for cost in own.per_round]
        claim = f"{name}: at least 80 % of the floor of 2 + 1/{vectors} = {floor:.3g} gradients"
        found = [Bar(claim, Spread.of(shares), 0.8, at_least=True)]
    else:
        found = [Bar(f"{name}: a product costs at most 2.4 gradients", Spread.of(own.per_round), 2.4)]
    return found + against(name, own, other)
