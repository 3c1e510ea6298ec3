"""What the text metadata of a checkpoint may name: built-in things, and data below its own folder.

Metadata is written by whoever wrote the file.  Were `hessent.arch = "package.module:factory"` followed, opening a
downloaded file would run code from it.  So a name from metadata is a bare word that a registry is asked for, a
data source is one of ours, and its path stays inside the checkpoint's folder.  A name that a user types on the
command line is a different matter and does not pass here.

Every function returns the sentence that says what is wrong, or None.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from hessent.checkpoint.listing import shown
from hessent.errors import CheckpointError

# The sources of the data room that read nothing, and those that read a path.  "hf:" is not among them: opening a
# folder of that library's passes through more of other people's code than a downloaded file may ask for.
GENERATED_SOURCES = ("digits", "synthetic")
PATH_SOURCES = ("arrays", "cifar10", "images", "tokens")

# 400 MB in float32: a few bytes of metadata must not fill the memory.
MOST_MADE_UP = 100_000_000

_COUNT = re.compile(r"\+?[0-9]+(_[0-9]+)*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_QUERY = re.compile(r"[A-Za-z0-9_.,=&+-]{0,200}")
_OPTION_TEXT = re.compile(r"[A-Za-z0-9_.,+ -]{0,100}")


def arch_problem(name: str) -> str | None:
    """Judge the name of an architecture (or of an optimizer) found in metadata."""
    if _WORD.fullmatch(name) is None or name.endswith(".py"):
        return f"{shown(name)} is not a bare built-in name; a checkpoint may not name code or files to import"
    return None


def loss_problem(name: str) -> str | None:
    """Judge the name of a loss found in metadata: a bare word and, after "?", its settings."""
    word, _, query = name.partition("?")
    if arch_problem(word) or _QUERY.fullmatch(query) is None:
        return f"{shown(name)} is not a built-in loss; a checkpoint may not name code to import"
    return None


def option_problem(name: str, value: Any) -> str | None:
    """Judge one architecture option found in metadata: a plain value, or a flat list of them."""
    if isinstance(value, list):
        found = (option_problem(name, item) for item in value)
        nested = any(isinstance(item, list) for item in value)
        return f"the option {shown(name)} is a nested list" if nested else next(filter(None, found), None)
    if isinstance(value, str):
        if _OPTION_TEXT.fullmatch(value) is None:
            return f"the option {shown(name)} is {shown(value)}, which is not a plain word or number"
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return None
    return f"the option {shown(name)} is a {type(value).__name__}, not a plain value"


def data_problem(name: str) -> str | None:
    """Judge the name of a data source found in metadata, without looking at any file.

    Parameters
    ----------
    name : str
        As on the command line: `SOURCE[:REST][?SETTINGS]`, "digits?split=test", "arrays:data.npz".

    Returns
    -------
    str or None
        Why it is refused: the source is not one of ours, its path is absolute or leads out of the folder, its
        settings hold more than plain words and numbers, or it asks for too many made-up samples.
    """
    body, _, query = name.partition("?")
    source, _, rest = body.partition(":")
    if source not in (*GENERATED_SOURCES, *PATH_SOURCES):
        known = ", ".join((*GENERATED_SOURCES, *PATH_SOURCES))
        return f"{shown(name)} is not a built-in data source ({known}); a checkpoint may not name code to import"
    if _QUERY.fullmatch(query) is None:
        return f"{shown(name)} has settings that are not plain words and numbers"
    if source in GENERATED_SOURCES:
        if rest and _WORD.fullmatch(rest) is None:
            return f"{shown(name)} gives a path to a source that reads no files"
        wanted = _made_up_numbers(query)
        too_many = f"{shown(name)} asks for {wanted:,} made-up numbers; a checkpoint may ask for {MOST_MADE_UP:,}"
        return too_many if wanted > MOST_MADE_UP else None
    if not _is_inside(rest):
        return f"{shown(name)} does not stay inside the checkpoint's own folder (a relative path without '..')"
    return None


def resolve_data(name: str, folder: str) -> str:
    """Turn a data name from metadata into one that can be opened from here.

    Parameters
    ----------
    name : str
        The name in the metadata; its path is relative to the checkpoint.
    folder : str
        The folder that holds the checkpoint, as typed ("" for the current one).

    Returns
    -------
    str
        The same name with the path put below `folder`.

    Raises
    ------
    CheckpointError
        `data_problem` refuses the name, or a symbolic link leads its path out of the folder.
    """
    problem = data_problem(name)
    body, mark, query = name.partition("?")
    source, _, path = body.partition(":")
    joined = os.path.join(folder, path)
    if problem is None and source in PATH_SOURCES:
        root = os.path.realpath(folder or ".")
        if os.path.commonpath([root, os.path.realpath(joined)]) != root:
            problem = f"{shown(name)} leads out of the checkpoint's own folder by a symbolic link"
    if problem is not None:
        raise CheckpointError(
            f"the metadata names data that is refused: {problem}", where=folder or ".", fix="give --data yourself"
        )
    return f"{source}:{joined}{mark}{query}" if source in PATH_SOURCES else name


def _made_up_numbers(query: str) -> int:
    """Count the numbers that the settings of made-up data ask for; what is no number is refused later."""
    settings = dict(piece.partition("=")[::2] for piece in query.split("&"))
    factors = [*settings.get("shape", "").lower().split("x"), settings.get("samples", "512")]
    return math.prod(int(factor) for factor in factors if _COUNT.fullmatch(factor))


def _is_inside(path: str) -> bool:
    parts = path.split("/")
    return (
        path.isprintable()
        and not any(character in path for character in "\\:~")
        and all(part not in ("", "..") for part in parts)
    )


def options_problems(options: Mapping[str, Any]) -> list[str]:
    """Judge all architecture options found in metadata."""
    found = [option_problem(name, value) for name, value in options.items()]
    return [problem for problem in found if problem is not None]
