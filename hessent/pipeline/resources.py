"""What the machine offers: device and memory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from hessent.errors import UsageError

_SHARE = 0.5  # of what is free: the rest is left to second backward passes and to other programs


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
