"""`DataRequest`: a data name taken apart and checked, as every source receives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DataRequest:
    """What a source is asked to open.

    Attributes
    ----------
    name : str
        The whole name as the user typed it; it begins every message.
    path : str
        What stands between the source's name and the parameters: a file, a folder, a kind, or nothing.
    parameters : mapping
        Every parameter of the source with its value or default, already converted.
    split : str
        The split wanted.
    splits : tuple of str
        The splits that can be opened under this name.
    """

    name: str
    path: str
    parameters: Mapping[str, Any]
    split: str
    splits: tuple[str, ...]
