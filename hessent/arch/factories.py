"""Networks from the user's own code: ``package.module:factory`` and ``path/to/file.py:factory``.

A factory is called with the architecture options as keyword arguments (a JSON scalar where the text is one, else
the text) and returns a `torch.nn.Module`.  Only a name typed by the user comes here, never one from a file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hessent.arch.architecture import BuiltModel
from hessent.arch.settings import parse_free
from hessent.errors import ArchitectureError, memory_ran_out, suggest


def build_from_factory(name: str, given: Mapping[str, Any]) -> BuiltModel:
    """Import and call a factory.

    Parameters
    ----------
    name : str
        ``package.module:factory`` or ``path/to/file.py:factory``.
    given : mapping
        Options as typed; the factory's keyword arguments.

    Returns
    -------
    BuiltModel

    Raises
    ------
    ArchitectureError
        If the file, module or attribute is missing, or the factory fails or returns no module.
    """
    place, _, attribute = name.rpartition(":")
    module = _import(place, name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ArchitectureError(
            f"'{place}' has no function '{attribute}'",
            where=f"--arch {name}",
            expected=f"a function or class that returns a torch.nn.Module; there: {', '.join(public) or 'none'}",
            fix=suggest(attribute, public),
        )
    return call_factory(factory, name, given)


def call_factory(factory: Callable[..., Any], name: str, given: Mapping[str, Any]) -> BuiltModel:
    """Call a factory with the options as keyword arguments and check what it returns.

    Raises
    ------
    ArchitectureError
        If it raises, or returns something other than a `torch.nn.Module`.
    """
    from torch import nn

    options = {key: parse_free(value) for key, value in given.items()}
    arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
    expected = f"a torch.nn.Module from {name.rpartition(':')[2]}({arguments})"
    try:
        model = factory(**options)
    except Exception as error:
        if memory_ran_out(error):
            raise
        raise ArchitectureError(
            f"the factory raised {type(error).__name__}: {error}",
            where=f"--arch {name}",
            expected=expected,
            fix="--arch-option KEY=VALUE for its arguments, --debug to see where it failed",
        ) from error
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"the factory returned {type(model).__name__}", where=f"--arch {name}", expected=expected
        )
    return BuiltModel(model, name, options, (), None, "cross-entropy", None)


def _import(place: str, name: str) -> ModuleType:
    """Import a module or run a file, and explain whatever goes wrong."""
    is_file = place.endswith(".py")
    if is_file and not os.path.isfile(place):
        raise ArchitectureError(
            f"no file '{place}'", where=f"--arch {name}", expected="path/to/file.py:factory, seen from here"
        )
    # Searched last, as a folder must not hide an installed package; later imports of the factory find it too.
    folder = str(Path(place).resolve().parent if is_file else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return _run_file(Path(place).resolve()) if is_file else importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise ArchitectureError(
            f"'{place}' cannot be imported: {type(error).__name__}: {error}",
            where=f"--arch {name}",
            expected="an importable package.module:factory, or path/to/file.py:factory",
        ) from error


def _run_file(path: Path) -> ModuleType:
    """Run a file as a module of its own, once: classes keep their identity however often it is named."""
    key = f"hessent_arch_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module  # dataclasses and pickling look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[key]
        raise
    return module
