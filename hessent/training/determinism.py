"""One seed, one result: what has to be set in torch for a run, and set back after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# cuBLAS adds in a fixed order only with a workspace of its own; it reads this when it is first used.
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(device: torch.device, threads: int | None) -> Iterator[None]:
    """Run torch deterministically where it can, with random generators that do not outlive the block.

    Parameters
    ----------
    device : torch.device
        Where the run computes.
    threads : int, optional
        CPU threads; None leaves torch's choice.  Sums are cut by threads, so their number decides the rounding.

    Notes
    -----
    An operation that torch has no deterministic form of is used all the same, with torch's own warning.
    """
    was_on = torch.are_deterministic_algorithms_enabled()
    was_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    was_benchmark = torch.backends.cudnn.benchmark
    were_threads = torch.get_num_threads()
    if device.type == "cuda":
        os.environ.setdefault(_CUBLAS, ":4096:8")
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        if threads is not None:
            torch.set_num_threads(threads)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(were_threads)
        torch.backends.cudnn.benchmark = was_benchmark
        torch.use_deterministic_algorithms(was_on, warn_only=was_warning)
