"""Versions of what can change a number."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version


def library_versions() -> Mapping[str, str]:
    """Return the versions that can change a number."""
    names = ("hessent", "torch", "numpy", "scipy", "h5py", "safetensors")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
