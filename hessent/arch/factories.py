"""Networks from the user's own code: ``package.module:factory`` and ``path/to/file.py:factory``.

A factory is called with the architecture options as keyword arguments (a JSON scalar where the text is one, else
the text) and returns a `torch.nn.Module`.  Only a name typed by the user comes here, never one from a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hessent.arch.architecture import BuiltModel
from hessent.arch.settings import parse_free
from hessent.errors import ArchitectureError, suggest


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
    module = _load_file(place, name) if place.endswith(".py") else _load_module(place, name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ArchitectureError(
            f"'{place}' has no callable '{attribute}'",
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
    try:
        model = factory(**options)
    except Exception as error:
        raise ArchitectureError(
            f"the factory raised {type(error).__name__}: {error}",
            where=f"--arch {name}",
            expected=f"a torch.nn.Module from {_call(name, options)}",
            fix="--arch-option KEY=VALUE sets its arguments; --debug shows where it failed",
        ) from error
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"the factory returned {type(model).__name__}",
            where=f"--arch {name}",
            expected=f"a torch.nn.Module from {_call(name, options)}",
        )
    return BuiltModel(model, name, options, (), None, "cross-entropy", None)


def _call(name: str, options: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return f"{name.rpartition(':')[2] or name}({arguments})"


def _load_module(place: str, name: str) -> ModuleType:
    """Import a module, looking in the current folder too, as ``python -m`` does."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise _not_imported(place, name, error) from error
    finally:
        sys.path.pop(0)


def _load_file(place: str, name: str) -> ModuleType:
    """Run a Python file as a module of its own."""
    path = Path(place)
    if not path.is_file():
        raise ArchitectureError(
            f"no file '{place}'", where=f"--arch {name}", expected="path/to/file.py:factory, seen from here"
        )
    key = f"hessent_factory_{path.stem}"
    spec = importlib.util.spec_from_file_location(key, path.resolve())
    if spec is None or spec.loader is None:
        raise ArchitectureError(f"'{place}' is not a Python file", where=f"--arch {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module  # dataclasses and pickling look their module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[key]
        raise _not_imported(place, name, error) from error
    return module


def _not_imported(place: str, name: str, error: Exception) -> ArchitectureError:
    return ArchitectureError(
        f"'{place}' cannot be imported: {type(error).__name__}: {error}",
        where=f"--arch {name}",
        expected="an importable package.module:factory, or path/to/file.py:factory",
    )
