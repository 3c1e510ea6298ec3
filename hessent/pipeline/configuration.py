"""`[tool.hessent]` of a hessent.toml or pyproject.toml: found upwards from the checkpoint, and checked.

Such a file may have come with a downloaded checkpoint, so it is as little to be trusted: it is bounded before it is
parsed, every value is checked here, with the file's name at hand, and it may name code only where it is the user's
own (`may_run_code`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hessent.errors import UsageError, suggest
from hessent.pipeline.request import DTYPES, LARGEST_SEED, parse_size

CONFIG_FILES = ("hessent.toml", "pyproject.toml")
MAX_BYTES = 2**18
# Python's parser takes time with the square of a dotted key's parts.
MAX_DOTS_IN_LINE = 300
_NAME = b"hessent"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "is not text"


def _whole_number(least: int, most: int | None = None) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if type(value) is not int:
            return "is not a whole number"
        if value < least or (most is not None and value > most):
            return f"must be at least {least}" if value < least else f"must be at most {most}"
        return None

    return check


def _share(value: Any) -> str | None:
    if type(value) not in (int, float):
        return "is not a number"
    return None if value >= 0 else "must be at least 0"


def _texts(value: Any) -> str | None:
    fine = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    return None if fine else "is not a list of texts"


def _plain_table(value: Any) -> str | None:
    plain = (str, bool, int, float)
    fine = isinstance(value, dict) and all(
        isinstance(entry, plain) or (isinstance(entry, list) and all(isinstance(item, plain) for item in entry))
        for entry in value.values()
    )
    return None if fine else "is not a table of plain values"


def _dtype(value: Any) -> str | None:
    return None if value in DTYPES else f"must be one of {', '.join(DTYPES)}"


def _size(value: Any) -> str | None:
    try:
        parse_size(value if isinstance(value, str) else "")
    except UsageError:
        return "is not a size, such as '8G' or '512M'"
    return None


# Settings a configuration file may give; each is an option of `hessent spectrum`.
_SETTINGS: dict[str, Callable[[Any], str | None]] = {
    "arch": _text,
    "arch_options": _plain_table,
    "data": _text,
    "loss": _text,
    "samples": _whole_number(1),
    "batch_size": _whole_number(1),
    "seed": _whole_number(0, LARGEST_SEED),
    "blocks": _texts,
    "rtol": _share,
    "device": _text,
    "dtype": _dtype,
    "memory": _size,
}


def find_config(checkpoint: str) -> tuple[Mapping[str, Any], Path | None]:
    """Read `[tool.hessent]` from the nearest configuration file upwards from a checkpoint.

    Parameters
    ----------
    checkpoint : str
        Path of the checkpoint.

    Returns
    -------
    tuple of (mapping, Path or None)
        The settings ({} where there is no such table), and the file they come from.

    Raises
    ------
    UsageError
        If the file is not TOML, or holds a key or a value that is not known; all of them are listed.
    """
    for folder in Path(checkpoint).resolve().parents:
        for name in CONFIG_FILES:
            path = folder / name
            if not path.is_file():
                continue
            table = _hessent_table(path)
            if table is not None:
                return _checked(table, path), path
    return {}, None


def may_run_code(config: Path | None) -> bool:
    """Whether a configuration file may name code to import: only the user's own project, around the working folder.

    A file that merely lies beside a downloaded checkpoint may not.
    """
    if config is None:
        return False
    here = Path.cwd().resolve()
    return config.parent == here or config.parent in here.parents


def _hessent_table(path: Path) -> Mapping[str, Any] | None:
    try:
        document = _parsed(path)
    except RecursionError as error:
        raise UsageError("the configuration is nested too deeply", where=str(path)) from error
    except (OSError, ValueError) as error:  # no TOML, no UTF-8, a number of too many digits
        raise UsageError(f"the configuration cannot be read: {error}", where=str(path)) from error
    tool = document.get("tool", {})
    table = tool.get("hessent") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _parsed(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if _NAME not in content:  # some other project's file, whatever is in it
        return {}
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    dots = max(line.count(b".") for line in content.splitlines())
    if dots > MAX_DOTS_IN_LINE:
        raise ValueError(f"a line has {dots:,} dots, more than {MAX_DOTS_IN_LINE}")
    return tomllib.loads(content.decode("utf-8"))


def _checked(table: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    problems: list[str] = []
    settings = {key: value for key, value in table.items() if not isinstance(value, dict) or key in _TABLES}
    for key, value in settings.items():
        check = _SETTINGS.get(key.replace("-", "_"))
        if check is None:
            near = suggest(key, _SETTINGS)
            problems.append(f"'{key}' is not a setting" + (f"; {near}" if near else ""))
        elif (problem := check(value)) is not None:
            problems.append(f"'{key}' is {_shown(value)}, which {problem}")
    if problems:
        raise UsageError(
            "[tool.hessent] is wrong",
            where=str(path),
            problems=problems,
            expected="any of " + ", ".join(sorted(_SETTINGS)),
        )
    return {key.replace("-", "_"): value for key, value in settings.items()}


_TABLES = ("arch_options", "arch-options")  # other tables belong to other commands


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # a hexadecimal number of more digits than Python turns into text
        return "a number of very many digits"
    return text if len(text) <= 80 else text[:79] + "…"
