"""Limits that a process puts upon itself before it looks at a hostile file; the system then enforces them.

Windows has none of them, and some systems lack one or the other: there the time that the parent waits is all.
"""

from __future__ import annotations

import contextlib
import math
import os


def limit(name: str, most: int) -> None:
    """Set a limit of the system's where there is one: Windows has none, others lack some."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        resource.setrlimit(getattr(resource, name), (most, most))


def limit_time(seconds: float) -> None:
    """End this process by a signal after so many seconds of computing; may be called again."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), hard))


def held_already() -> int:
    """Bytes of address space that the interpreter and its libraries take, where the system says so."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 2**30


def set_limits(memory: int) -> None:
    """Leave this process nothing but to compute, in so many bytes beside those it has, and to write to its pipe."""
    limit("RLIMIT_CORE", 0)
    limit("RLIMIT_FSIZE", 0)
    limit("RLIMIT_AS", held_already() + memory)


def spent() -> float:
    """Seconds of computing so far."""
    times = os.times()
    return times.user + times.system


def open_no_more() -> None:
    """Whatever is asked for from now on: no other file is opened."""
    limit("RLIMIT_NOFILE", 0)


class RefusedError(Exception):
    """The file as a whole is not read; each argument is a clause that says why."""


class Patience:
    """Computing time: so many seconds in all, and few without a sign of progress.

    Parameters
    ----------
    idle : float
        Seconds of computing from one sign of progress to the next.
    total : float
        Seconds of computing in all.
    """

    def __init__(self, idle: float, total: float) -> None:
        self._idle = idle
        self._total = total
        self.progress()

    def progress(self) -> None:
        """Say that something was done.

        Raises
        ------
        RefusedError
            If the time is up: some systems look at the clock too rarely to end who sets it again and again.
        """
        if spent() > self._total:
            raise RefusedError("reading it takes longer than its size explains")
        limit_time(min(spent() + self._idle, self._total))

    def extend(self, seconds: float) -> None:
        """Allow for something that takes longer."""
        self._total = spent() + self._idle + seconds
        limit_time(self._total)
