"""Packages that only one kind of export needs: loaded when it is asked for, or a sentence on what to install."""

from __future__ import annotations

import importlib
from typing import Any

from hessent.errors import UsageError


def load_package(module: str, extra: str, what: str) -> Any:
    """Load a module of an optional package.

    Parameters
    ----------
    module : str
        Its full name.
    extra : str
        The extra of hessent that installs it.
    what : str
        What is written with it, as the start of a sentence: "parquet files are".

    Raises
    ------
    UsageError
        If it is not installed, or broken.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        broken = error.name is not None and error.name.partition(".")[0] != package
        found = f"which cannot be loaded: {error}" if broken else "which is not installed"
        raise UsageError(f"{what} written with {package}, {found}", fix=install(extra)) from error


def install(extra: str) -> str:
    """Return what to type to get the packages of an extra."""
    return f"pip install 'hessent[{extra}]'"
