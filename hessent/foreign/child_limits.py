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


def set_limits(seconds: float, memory: int) -> None:
    """Leave this process nothing but to compute for some seconds, in some bytes, and to write to its pipe."""
    limit_time(seconds)
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
