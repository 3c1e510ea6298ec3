"""Machine and versions as every result names them: the kind of processor, never a host or a folder."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

import hessent

_PEERS = ("curvlinops-for-pytorch", "hessian-eigenthings", "PyHessian")


def processor() -> str:
    """Model and number of cores of the processor, without the name of the machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"


def describe(device: str) -> dict[str, Any]:
    """Return processor, memory, accelerator, versions and revision.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".

    Returns
    -------
    dict
        Memory in GiB.
    """
    found: dict[str, Any] = {"processor": processor(), "memory_gib": round(memory() / 2**30, 1)}
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {"accelerator": card.name, "accelerator_gib": round(card.total_memory / 2**30, 1)}
    found["python"] = platform.python_version()
    found |= {library.__name__: library.__version__ for library in (hessent, torch, np, scipy)}
    return found | peer_versions() | {"revision": revision()}


def peer_versions() -> dict[str, str]:
    """Return the versions of the other tools that are installed here."""
    found = {}
    for distribution in _PEERS:
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def memory() -> int:
    """Return the bytes of physical memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def revision() -> str:
    """Return the commit of the source, marked where the tree differs from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
