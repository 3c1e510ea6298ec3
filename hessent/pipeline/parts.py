"""Splitting a run over jobs that share nothing but files: `--units 2/3` measures the second third of the blocks.

Each job makes the operator's check of all blocks and measures its own; `merge` joins the files.  Which blocks are
whose follows from the products planned, so that every job has about the same to do, and from nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hessent.curvature.blocks import Block
from hessent.errors import UsageError


@dataclass(frozen=True)
class Part:
    """One of several equal shares of the blocks.

    Attributes
    ----------
    number : int
        Which one, counted from 1.
    of : int
        How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that a text such as `2/3` names.

        Raises
        ------
        UsageError
            If it names none.
        """
        found = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text, re.ASCII)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(
                f"'{text}' is not a part of the blocks",
                where="--units",
                expected="I/N with 1 <= I <= N, for example 2/3",
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, planned: Mapping[str, int]) -> list[str]:
        """Return the blocks of this part, in the order given.

        The block with most products left goes to the part with fewest so far.

        Parameters
        ----------
        planned : mapping of str to int
            Products planned with every block of the run.

        Raises
        ------
        UsageError
            If there are more parts than blocks.
        """
        if self.of > len(planned):
            raise UsageError(
                f"{self.of} parts of {len(planned)} blocks",
                where="--units",
                expected="at most as many parts as there are blocks",
                fix=f"--units {min(self.number, len(planned))}/{len(planned)}",
            )
        loads = [0] * self.of
        owner: dict[str, int] = {}
        for name in sorted(planned, key=lambda name: -planned[name]):  # stable: equal ones in the model's order
            least = min(range(self.of), key=lambda index: loads[index])
            # A block counts for one product at least, so that no part stays empty.
            loads[least] += max(planned[name], 1)
            owner[name] = least
        return [name for name in planned if owner[name] == self.number - 1]


def part_facts(part: Part | None, blocks: Sequence[Block], *, done: bool) -> dict[str, Any]:
    """Return what `merge` needs to know of a part, for the file.

    Parameters
    ----------
    part : Part or None
        The part; None for a whole run, of which there is nothing to tell.
    blocks : sequence of Block
        All of the run.
    done : bool
        Whether every block of the part was worked on to its end.
    """
    if part is None:
        return {}
    names = [block.name for block in blocks]
    return {"units": {"part": part.number, "of": part.of, "done": done, "blocks": names}}
