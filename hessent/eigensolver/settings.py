"""How hard to work on a block: tolerances, budgets and the plan that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hessent.eigensolver.overflow import Overflow

# Caps of the adaptive rule: beyond them a block is marked as not converged instead of being refined further.
MAX_PROBES = 16
MAX_STEPS = 320
MAX_SEARCH = 400  # products for outliers
# Below 4 probes of 40 steps intervals are not honest enough to stop on (coverage 0.80 at 3 × 30).
FIRST_PROBES = 4
FIRST_STEPS = 40
LOOK_STEPS = 20  # of the first look
LOOK_SEARCH = 20  # products for outliers in the first look with few vectors in memory
FIRST_TRACE_VECTORS = 20  # for the trace alone; fewer leave the scatter too uncertain to stop on
LEAST_ROOM = 32  # vectors without which nothing can be sampled, whatever the memory
_DEFAULT_BUDGET = 300  # products; reaches a few per cent on the gap of trained nets of 2,000–100,000 parameters
_SMALL_BUDGET, _LARGE_BUDGET = 200, 600
_TOLERANCES = (0.01, 0.04)
_LARGE_SIZE = 50_000
_LEAST_VECTORS = 320  # that must find room for a joint Krylov space of 4 probes to beat separate ones


@dataclass(frozen=True)
class SolverSettings:
    """What the user asked of every block.

    Attributes
    ----------
    method : str
        `auto` (exact where a block is small), `exact` or `lanczos`.
    rtol : float
        Target relative 95 % half-width of entropy gap and absolute trace; 0 spends the whole budget.
    max_matvecs : int or None
        Budget of products per block, checks included.
    num_probes, num_steps : int or None
        Fixed by hand; with the steps fixed nothing is adapted.
    exact_limit : int
        Largest block that `auto` treats exactly.
    seed : int
        Seed of all start vectors.
    basis_memory : int
        Bytes of memory that the vectors of one block may take where they are multiplied.
    overflow : Overflow
        Host memory and file that they may take beyond.
    only_trace : bool
        Whether the trace alone is asked for.
    """

    method: str = "auto"
    rtol: float = 0.05
    max_matvecs: int | None = None
    num_probes: int | None = None
    num_steps: int | None = None
    exact_limit: int = 2048
    seed: int = 0
    basis_memory: int = 2**30
    overflow: Overflow = field(default_factory=Overflow)
    only_trace: bool = False

    def room(self, size: int, itemsize: int) -> int:
        """Vectors of `size` numbers of `itemsize` bytes that fit in the memory of one block."""
        return self.basis_memory // (itemsize * size)

    def reach(self, size: int, itemsize: int) -> int:
        """Vectors of `size` numbers of `itemsize` bytes that find room at all: in memory, host memory and file."""
        each = itemsize * size
        return self.room(size, itemsize) + self.overflow.host // each + self.overflow.file // each


@dataclass(frozen=True)
class Plan:
    """First instalment of products for a block sampled with few vectors in memory.

    Attributes
    ----------
    search : int
        Products spent on outliers.
    probes, steps : int
        Probes in the complement and steps of each.
    """

    search: int
    probes: int
    steps: int


def is_exact(settings: SolverSettings, size: int, spent: int) -> bool:
    """Whether a block of `size` parameters is formed whole, given the products already spent on checks."""
    if settings.method != "auto":
        return settings.method == "exact"
    affordable = settings.max_matvecs is None or spent + size <= settings.max_matvecs
    if settings.only_trace:
        bound = 3 * FIRST_TRACE_VECTORS
    elif settings.num_steps is not None:
        # Fixed steps ask for sampling, except where it would cost more than the exact answer.
        bound = joint_probes(settings, size, spent) * settings.num_steps
    else:
        bound = settings.exact_limit
    return affordable and size <= bound


def is_joint(settings: SolverSettings, size: int, itemsize: int) -> bool:
    """Whether a sampled block is worked on in one joint Krylov space: wherever its vectors find room."""
    probes, steps = settings.num_probes or FIRST_PROBES, settings.num_steps or 0
    return settings.reach(size, itemsize) >= max(_LEAST_VECTORS, probes * (steps + 1))


def joint_probes(settings: SolverSettings, size: int, spent: int) -> int:
    """Return the number of probes of a joint Krylov space.

    Few: the joint space shares its outliers among them, and long runs serve the gap better.  The more products
    there will be, the more of them, because the t quantile of the interval depends on their number (4.3 with 3, 3.2
    with 4, 2.4 with 8), and one pass over the basis serves all of a step.  Measured on exact Hessians of small
    trained nets, on spectra over 8 decades, and on a ResNet18 of 100,000 parameters.
    """
    if settings.max_matvecs is None:
        if settings.num_probes is not None:
            return settings.num_probes
        fine, coarse = _TOLERANCES
        if settings.rtol < fine or size > _LARGE_SIZE:
            return 8
        return 6 if settings.rtol < coarse else FIRST_PROBES
    budget = settings.max_matvecs - spent
    if settings.num_probes is not None:
        return max(min(settings.num_probes, budget), 1)
    if budget > _LARGE_BUDGET:
        return 8
    if budget > _SMALL_BUDGET:
        return 5
    return max(min(3, budget // 12), min(2, budget), 1)


def sampled_matvecs(settings: SolverSettings, size: int, spent: int) -> int:
    """Return the products planned for a sampled block: all of a budget, else the first instalment."""
    if settings.max_matvecs is not None:
        return settings.max_matvecs - spent
    if settings.only_trace:
        return 3 * FIRST_TRACE_VECTORS
    return joint_probes(settings, size, 0) * (settings.num_steps or FIRST_STEPS)


def first_plan(settings: SolverSettings, size: int, spent: int) -> Plan:
    """Split the first instalment of products between outliers and probes, for few vectors in memory.

    About two fifths go to the outliers (a third of large budgets): on exact Hessians of small trained nets
    (n ≈ 2,400–3,500) deflation is worth that much while outliers dominate the trace.  A budget too small for
    that, or for the probes and steps asked for, shortens the search first, then probes, then steps: it is never
    exceeded.

    Parameters
    ----------
    settings : SolverSettings
        Budget, probes and steps.
    size : int
        Number of parameters of the block.
    spent : int
        Products already spent on it.
    """
    budget = settings.max_matvecs - spent if settings.max_matvecs is not None else _DEFAULT_BUDGET
    share = 0.4 if budget <= _LARGE_BUDGET else 0.3
    search = max(min(int(share * budget), size // 2), 0)
    probes = settings.num_probes or (FIRST_PROBES if budget >= 200 else 3)
    # Of a large budget the rest is kept for refinement, but no run starts too short to judge itself.
    most = budget - search if settings.max_matvecs is not None else probes * FIRST_STEPS
    instalment = max(min(budget, _LARGE_BUDGET) - search, min(most, probes * FIRST_STEPS))
    steps = min(settings.num_steps or max(instalment // probes, 2), size)
    if settings.max_matvecs is not None:
        search = max(min(search, budget - probes * steps), 0)
        probes = max(min(probes, (budget - search) // 2), 1)
        steps = max(min(steps, (budget - search) // probes), 1)
    return Plan(search, probes, steps)
