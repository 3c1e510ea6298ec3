"""Code of the user's named on the command line: `package.module:name` or `path/to/file.py:name`.

Only ever called with names that a person typed or wrote into a configuration; a name found inside a checkpoint
or a data file never comes here.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hessent.errors import DataError, InputError, suggest


def load_attribute(reference: str, *, where: str, error: type[InputError] = DataError) -> Any:
    """Import a module or file and return the attribute named after the colon.

    Parameters
    ----------
    reference : str
        ``package.module:name`` (the current folder is searched too) or ``path/to/file.py:name``.
    where : str
        For messages.
    error : type of InputError
        The class of the errors raised.

    Returns
    -------
    object
        The attribute.

    Raises
    ------
    InputError
        Of class `error`: if the module or file cannot be found or fails while it is imported, or lacks the name.
    """
    place, _, name = reference.rpartition(":")
    try:
        module = _module_of_file(Path(place), where, error) if place.endswith(".py") else _module(place)
    except InputError:
        raise
    except Exception as failure:
        raise error(
            f"importing '{place}' failed: {type(failure).__name__}: {failure}",
            where=where,
            fix="install the package, run from the folder that holds it, or give path/to/file.py:name",
        ) from failure
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        near = suggest(name, public)
        raise error(f"'{place}' has no '{name}'" + (f"; {near}" if near else ""), where=where)
    return getattr(module, name)


def _module(name: str) -> ModuleType:
    with _searching(Path.cwd()):
        return importlib.import_module(name)


def _module_of_file(path: Path, where: str, error: type[InputError]) -> ModuleType:
    if not os.path.isfile(path):
        raise error(f"there is no file '{path}'", where=where, expected="a Python file")
    full = path.resolve()
    # One module per file, however often and from wherever it is named: classes keep their identity.
    name = f"hessent_user_{full.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, full)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    try:
        with _searching(full.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _searching(folder: Path) -> Iterator[None]:
    """Search `folder` first while a module is imported, as `python file.py` would."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the module may have changed the path itself
            sys.path.remove(entry)
