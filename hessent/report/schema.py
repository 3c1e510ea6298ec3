"""The JSON Schemas of everything that hessent prints as JSON, shipped inside the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

FOLDER = "schemas"


def schema_names() -> tuple[str, ...]:
    """Return the names of all documents that have a schema, as they stand in their `schema` field."""
    names = (entry.name for entry in (files("hessent.report") / FOLDER).iterdir())
    return tuple(sorted("hessent." + name.removesuffix(".json").replace("-", "/") for name in names))


def load_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a document.

    Parameters
    ----------
    name : str
        As in its `schema` field, for example ``hessent.summary/1``.

    Raises
    ------
    KeyError
        If there is no such document.
    """
    if name not in schema_names():
        raise KeyError(name)
    file = name.removeprefix("hessent.").replace("/", "-") + ".json"
    schema: dict[str, Any] = json.loads((files("hessent.report") / FOLDER / file).read_text(encoding="utf-8"))
    return schema
