"""How a process is present in a journal, so that others know of it and stay out of its way.

Where the file system has locks, any number of processes share a journal (`shared_by_locks.py`); where it has none,
one process has it to itself (`owned_alone.py`).
"""

from __future__ import annotations

import contextlib
from typing import Protocol

THIS_PROCESS = "this process"  # who holds a claim, where it is us


class Presence(Protocol):
    """How a process is present in a journal."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep all others from opening, settling, claiming and removing meanwhile."""

    def enter(self) -> None:
        """Be seen by the others from now on."""

    def leave(self) -> None:
        """Free everything that is held."""

    def stands(self) -> bool:
        """Whether the journal that was entered is still the one in the folder."""

    def others(self) -> list[str]:
        """Return the other processes that have the journal open, for messages."""

    def others_at_work(self) -> bool:
        """Whether another process has a unit."""

    def claim(self, unit: str) -> bool:
        """Take a unit if nobody else has it."""

    def release(self, unit: str) -> None:
        """Let a unit go."""

    def holds(self, unit: str) -> bool:
        """Whether a unit is claimed from here."""

    def claimed_by(self, unit: str) -> str | None:
        """Return who has a unit, for messages; None where it is free."""
