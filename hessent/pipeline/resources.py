"""What the machine offers: device, memory, and the micro-batch that fits into it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from hessent.curvature.containers import num_samples, samples
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.graph_memory import GraphMemory
from hessent.curvature.problem import Problem
from hessent.errors import ComputationError, UsageError

_MEASURED_SAMPLES = 4
_LARGEST_BATCH = 1024  # beyond this a micro-batch only costs memory; measured on CPU for small convolution nets
_SHARE = 0.5  # of what is free: the rest is left to second backward passes and to other programs
# A second backward pass holds about as much again as the graph it goes through, for a moment.
_PEAK_OVER_GRAPH = 2


def choose_device(name: str | None) -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name : str or None
        `auto`, `cpu`, `cuda`, `cuda:N`; None means `auto`.

    Raises
    ------
    UsageError
        If the name is not a device, or there is none of the kind.
    """
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
    except RuntimeError as error:
        raise UsageError(
            f"'{name}' is not a device", where="--device", expected="auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"'{name}' is not there: torch sees {torch.cuda.device_count()} CUDA devices",
            where="--device",
            fix="--device cpu",
        )
    if device.type not in ("cpu", "cuda"):
        raise UsageError(
            f"'{name}' is not supported",
            where="--device",
            expected="cpu or cuda: float64 is needed for recurrences",
        )
    return device


def available_memory(device: torch.device) -> int:
    """Return the bytes hessent allows itself where the user does not say: half of what is free.

    On a CPU the container's limit counts where it is below the machine's free memory.
    """
    if device.type == "cuda":
        return int(_SHARE * torch.cuda.mem_get_info(device)[0])
    free = [_free_physical(), *_container_room()]
    return int(_SHARE * min(free))


def _free_physical() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _container_room() -> list[int]:
    """Bytes left below the limit of the control group, where there is one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return []
    return [] if limit == "max" else [max(int(limit) - used, 0)]


def bytes_per_sample(problem: Problem) -> int:
    """Measure the bytes a gradient graph keeps per sample, on the first few samples."""
    inputs, targets = next(iter(problem.micro_batches()))
    count = min(num_samples(inputs), _MEASURED_SAMPLES)
    with GraphMemory() as counter:
        DoubleBackward(problem, samples(inputs, 0, count), samples(targets, 0, count))
    return max(counter.nbytes // count, 1)


def choose_batch_size(problem: Problem, available: int, memory: int) -> int:
    """Return the micro-batch size whose product fits in `memory` bytes.

    Parameters
    ----------
    problem : Problem
        Its batches are measured with a few samples.
    available : int
        Number of samples there are.
    memory : int
        Bytes allowed.

    Returns
    -------
    int
        Between 1 and 1,024.

    Raises
    ------
    ComputationError
        If not even one sample fits.
    """
    each = bytes_per_sample(problem)
    fitting = memory // (each * _PEAK_OVER_GRAPH)
    if fitting < 1:
        raise ComputationError(
            f"one sample needs about {each * _PEAK_OVER_GRAPH / 2**20:,.0f} MiB, "
            f"{memory / 2**20:,.0f} MiB are allowed",
            fix="a larger --memory, or a machine with more",
        )
    return int(min(fitting, available, _LARGEST_BATCH))
