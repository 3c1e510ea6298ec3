"""Policies in files: a TOML file of their own, or ``[tool.hessent.check]`` of a hessent.toml or pyproject.toml.

A policy is bounded before it is parsed and names no code, so one from elsewhere can be no worse than wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hessent.errors import UsageError
from hessent.report.checks.small_file import read_small

CONFIG_FILES = ("hessent.toml", "pyproject.toml")
MAX_BYTES = 2**18
# Python's parser takes time with the square of a dotted key's parts, and a level of recursion per bracket.
MAX_DOTS_IN_LINE = 300
_RULE_LINE = re.compile(r"\s*\[\[\s*(tool\s*\.\s*hessent\s*\.\s*check\s*\.\s*)?rule\s*\]\]")
_PROJECT_FIX = 'a [[rule]] with measure = "lambda_max" and max = 250, or --max lambda_max=250'


def read_policy(path: str) -> tuple[Any, tuple[int, ...]]:
    """Read the policy in a file.

    Parameters
    ----------
    path : str
        TOML with ``[[rule]]``, or with a table ``[tool.hessent.check]``.

    Returns
    -------
    tuple of (object, tuple of int)
        The policy's table, unchecked, and the line of each ``[[rule]]`` (empty where that is not sure).

    Raises
    ------
    UsageError
        If the file cannot be read, is no TOML, or exceeds the limits.
    """
    raw = read_small(path, MAX_BYTES, UsageError, "the policy")
    document = _parsed(raw, path)
    table = _project_table(document)
    if table is None:
        if Path(path).name in CONFIG_FILES and "rule" not in document:
            raise UsageError("has no [tool.hessent.check]", where=path, fix=_PROJECT_FIX)
        table = document
    return table, _rule_lines(raw, table)


def find_project_policy(folder: Path) -> str | None:
    """Return the nearest configuration file with ``[tool.hessent.check]`` from a folder upwards, or None.

    Parameters
    ----------
    folder : Path
        The working folder: the user's own project, never the place that a run was downloaded to.

    Raises
    ------
    UsageError
        If a file that could hold the table cannot be read.
    """
    here = folder.resolve()
    for parent in (here, *here.parents):
        for name in CONFIG_FILES:
            path = parent / name
            if path.is_file() and _may_hold_policy(path) and _project_table(_parsed(_content(path), str(path))):
                return str(path.relative_to(here)) if parent == here else str(path)
    return None


def _content(path: Path) -> bytes:
    return read_small(str(path), MAX_BYTES, UsageError, "the configuration")


def _may_hold_policy(path: Path) -> bool:
    """Whether the words stand in it; some other project's file is none of our business, whatever is in it."""
    try:
        with path.open("rb") as file:
            start = file.read(MAX_BYTES)
    except OSError:
        return False
    return b"hessent" in start and b"check" in start


def _parsed(raw: bytes, path: str) -> dict[str, Any]:
    dots = max((line.count(b".") for line in raw.splitlines()), default=0)
    if dots > MAX_DOTS_IN_LINE:
        raise UsageError(f"a line has {dots:,} dots, more than {MAX_DOTS_IN_LINE}", where=path)
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except RecursionError as error:
        raise UsageError("the policy is nested too deeply", where=path) from error
    except ValueError as error:  # no TOML, no UTF-8, a number of too many digits
        raise UsageError(f"the policy is not TOML: {error}", where=path) from error


def _project_table(document: Mapping[str, Any]) -> Any:
    table: Any = document
    for key in ("tool", "hessent", "check"):
        table = table.get(key) if isinstance(table, Mapping) else None
    return table


def _rule_lines(raw: bytes, table: Any) -> tuple[int, ...]:
    """Find the lines of the headers; a list of another length than the rules says nothing."""
    lines = raw.decode("utf-8").splitlines()
    found = tuple(number for number, line in enumerate(lines, 1) if _RULE_LINE.match(line))
    entries = table.get("rule") if isinstance(table, Mapping) else None
    return found if isinstance(entries, list) and len(entries) == len(found) else ()
