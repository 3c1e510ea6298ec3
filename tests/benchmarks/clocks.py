"""Which clock a timing is read from."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def clock_for(device: str) -> Callable[[], float]:
    """Return the clock in seconds.

    With one thread on the CPU it is the processor's time, in which other programs do not count; it is the time of
    the wall where nothing else runs.  With several threads it is the time of the wall, and on an accelerator too,
    once that has finished.
    """
    if device == "cuda":
        return _after_the_device
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def clock_name(device: str) -> str:
    """Return the sentence that says so beside a table."""
    if clock_for(device) is time.process_time:
        return "Seconds of the processor, one thread."
    return "Seconds of the wall."


def _after_the_device() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
