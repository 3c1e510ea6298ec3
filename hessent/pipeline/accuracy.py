"""What is asked of the numbers: by which method, how exact, at what cost, and with which errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hessent.curvature.blocks import Block
from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK
from hessent.eigensolver.settings import SolverSettings
from hessent.errors import UsageError, below_least
from hessent.spectra.hdf5_blocks import MOST_STEPS

METHODS = ("auto", "exact", "lanczos")
ONLY = ("trace",)
DEFAULT_RTOL = 0.05
# The check, and three probes of two steps (or three test vectors of the trace): fewer have no interval.
LEAST_MATVECS = PRODUCTS_PER_BLOCK + 6


@dataclass(frozen=True)
class Accuracy:
    """How the blocks are to be measured.

    Attributes
    ----------
    method : str
        `auto` (exact where a block is small), `exact` or `lanczos`.
    rtol : float or None
        Target relative 95 % half-width of entropy gap and absolute trace; 0 spends the whole budget. None: 0.05,
        but 0 beside a budget of products, which is then spent.
    max_matvecs : int or None
        Budget of products per block, checks included.
    num_probes, num_steps : int or None
        Probes and steps, by hand.
    only : str or None
        `trace`: nothing but the trace, which then costs far fewer products.
    data_error : bool
        Whether the error of the data subset is told (not for the trace alone).
    data_groups : int
        Groups of the data it is told from.
    population : int or None
        Size of the finite population that the samples were drawn from; None for an unlimited one.
    """

    method: str = "auto"
    rtol: float | None = None
    max_matvecs: int | None = None
    num_probes: int | None = None
    num_steps: int | None = None
    only: str | None = None
    data_error: bool = True
    data_groups: int = 4
    population: int | None = None

    @property
    def tolerance(self) -> float:
        """The target half-width, with its default filled in."""
        if self.rtol is not None:
            return self.rtol
        return DEFAULT_RTOL if self.max_matvecs is None else 0.0

    @property
    def num_groups(self) -> int:
        """Groups into which the data is divided; 1 where its error is not asked for."""
        return self.data_groups if self.data_error and self.only is None else 1

    def require_sound(self) -> None:
        """Check every value at once.

        Raises
        ------
        UsageError
            Listing all values that are out of range or do not go together.
        """
        problems = self.problems()
        if problems:
            raise UsageError("some options are out of range", problems=problems)

    def problems(self) -> list[str]:
        """Return a line for each value that is out of range, or does not go with another."""
        found = below_least(
            (
                ("probes", self.num_probes, 1),
                ("steps", self.num_steps, 1),
                ("rtol", self.rtol, 0),
                ("data-groups", self.data_groups, 2),
                ("population", self.population, 1),
            )
        )
        if self.num_steps is not None and self.num_steps > MOST_STEPS:
            found.append(f"--steps {self.num_steps}: must be at most {MOST_STEPS}, which is what files may hold")
        if self.max_matvecs is not None and self.max_matvecs < LEAST_MATVECS:
            found.append(
                f"--max-matvecs {self.max_matvecs}: must be at least {LEAST_MATVECS}, of which "
                f"{PRODUCTS_PER_BLOCK} go to the check of the products"
            )
        if self.method not in METHODS:
            found.append(f"--method {self.method}: must be one of {', '.join(METHODS)}")
        if self.only is not None:
            found += self._misfits(self.only)
        elif self.population is not None and not self.data_error:
            found.append(f"--population {self.population}: means nothing with --no-data-error")
        return found

    def _misfits(self, only: str) -> list[str]:
        """What cannot be asked for beside `--only`."""
        if only not in ONLY:
            return [f"--only {only}: must be one of {', '.join(ONLY)}"]
        given = (
            ("--probes", self.num_probes),
            ("--steps", self.num_steps),
            ("--method", None if self.method == "auto" else self.method),
            ("--population", self.population),
        )
        return [f"{option} {value}: does not go with --only {only}" for option, value in given if value is not None]

    def solver_settings(self, *, seed: int, basis_memory: int) -> SolverSettings:
        """Return the settings of every block's solver; `basis_memory` in bytes."""
        return SolverSettings(
            method=self.method,
            rtol=self.tolerance,
            max_matvecs=self.max_matvecs,
            num_probes=self.num_probes,
            num_steps=self.num_steps,
            seed=seed,
            basis_memory=basis_memory,
            only_trace=self.only == "trace",
        )

    def as_settings(self) -> dict[str, Any]:
        """Return what goes into the file; what has no effect is None."""
        return {
            "method": self.method,
            "rtol": self.tolerance,
            "max_matvecs": self.max_matvecs,
            "probes": self.num_probes,
            "steps": self.num_steps,
            "only": self.only,
            "data_groups": self.num_groups if self.num_groups > 1 else None,
            "population": self.population,
        }


def sampled_fraction(samples: int, population: int | None) -> float:
    """Return the share of a population that is in the sample; 0 for an unlimited one.

    Raises
    ------
    UsageError
        If there are more samples than the population has.
    """
    if population is None:
        return 0.0
    if population < samples:
        raise UsageError(
            f"the population is {population:,}, but {samples:,} samples of it are used",
            where="--population",
            expected="the number of samples that could have been drawn, those used included",
            fix=f"--population {samples} if these are all there are",
        )
    return samples / population


def refuse_large_exact(blocks: Sequence[Block], settings: SolverSettings) -> None:
    """Refuse to form blocks whole that fit neither in memory nor in the budget.

    Raises
    ------
    UsageError
        Naming each of them.
    """
    if settings.method != "exact":
        return
    room = settings.basis_memory // 24  # the matrix, its symmetric part and the eigensolver's copy, 8 bytes each
    problems = [f"'{block.name}' has {block.size:,} parameters" for block in blocks if block.size**2 > room]
    if settings.max_matvecs is not None:
        problems += [
            f"'{block.name}' needs {block.size + PRODUCTS_PER_BLOCK:,} products, its check included, "
            f"--max-matvecs allows {settings.max_matvecs:,}"
            for block in blocks
            if block.size + PRODUCTS_PER_BLOCK > settings.max_matvecs
        ]
    if problems:
        raise UsageError(
            "some blocks cannot be formed exactly",
            where="--method exact",
            problems=problems,
            fix="--method auto, a larger --memory, or --blocks and --no-full to leave them out",
        )
