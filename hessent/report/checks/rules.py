"""A rule: one bound on one measure of the blocks that a glob matches.

Six kinds of bounds.  `max` and `min` are about the measure itself, in its unit.  The other four are about a change
against a baseline: `max_increase` and `max_decrease` in the unit of the measure, or, as a percentage, relative to
the absolute value of the baseline; `max_ratio` and `min_ratio` about the quotient run / baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["fail", "warn"]
Quantity = Literal["value", "increase", "decrease", "ratio"]

LEVELS: tuple[Level, ...] = ("fail", "warn")
WHOLE_MODEL = "full"


@dataclass(frozen=True)
class BoundKind:
    """What a bound bounds.

    Attributes
    ----------
    key : str
        Its name in a policy.
    quantity : {"value", "increase", "decrease", "ratio"}
        What is compared with the bound.
    is_upper : bool
        Whether the quantity must not lie above the bound, rather than below.
    """

    key: str
    quantity: Quantity
    is_upper: bool

    @property
    def needs_baseline(self) -> bool:
        """Whether it is about a change."""
        return self.quantity != "value"

    @property
    def may_be_percentage(self) -> bool:
        """Whether the bound may be relative to the baseline."""
        return self.quantity in ("increase", "decrease")


KINDS = {
    kind.key: kind
    for kind in (
        BoundKind("max", "value", True),
        BoundKind("min", "value", False),
        BoundKind("max_increase", "increase", True),
        BoundKind("max_decrease", "decrease", True),
        BoundKind("max_ratio", "ratio", True),
        BoundKind("min_ratio", "ratio", False),
    )
}


@dataclass(frozen=True)
class Bound:
    """A number that a quantity must keep to.

    Attributes
    ----------
    kind : BoundKind
        What it bounds, and from which side.
    number : float
        In the unit of the measure; a share of the baseline where `relative`; dimensionless for a ratio.
    relative : bool
        Whether it was given as a percentage: 0.2 is then 20 %.
    """

    kind: BoundKind
    number: float
    relative: bool = False

    @property
    def shown(self) -> str:
        """The number as one would type it."""
        return f"{100 * self.number:.12g}%" if self.relative else f"{self.number:.12g}"


@dataclass(frozen=True)
class Rule:
    """One bound on one measure.

    Attributes
    ----------
    measure : str
        A measure of the summary.
    bound : Bound
        What it must keep to.
    block : str
        Glob; the rule holds for every block that it matches.
    level : {"fail", "warn"}
        Whether a violation fails the check, or only shows.
    baseline : str or None
        File that a change is measured against, as the user would type it from here.
    file : str or None
        Policy file the rule stands in; None for the command line.
    line : int or None
        Line in that file, counted from 1, where it is known.
    """

    measure: str
    bound: Bound
    block: str = WHOLE_MODEL
    level: Level = "fail"
    baseline: str | None = None
    file: str | None = None
    line: int | None = None

    @property
    def text(self) -> str:
        """The rule on one line: ``layer4.*:trace max_increase 20%``."""
        return f"{self.block}:{self.measure} {self.bound.kind.key} {self.bound.shown}"
