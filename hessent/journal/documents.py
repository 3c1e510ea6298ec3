"""The two documents of a journal that people may read: what is measured, and what was chosen by timing.

A document is strict JSON with sorted keys and its own SHA-256.  It is whole only if the bytes are those that the
writer would make of it: no bit of it can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hessent.foreign.strict_json import parse_bytes
from hessent.spectra.encoding import encode_json
from hessent.storage.sealed_file import DamagedFileError
from hessent.storage.whole_file import read_whole

SCHEMA = "hessent.journal/1"
_FAMILY = SCHEMA.partition("/")[0] + "/"
_MOST_BYTES = 1 << 24


class NewerSchemaError(ValueError):
    """The document has the schema of another hessent."""


def as_stored(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as it comes back from a file: JSON has neither tuples nor infinite numbers."""
    stored: dict[str, Any] = json.loads(encode_json(content))
    return stored


def render(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of the document that holds `content`."""
    stored = as_stored(content)
    digest = hashlib.sha256(encode_json({"schema": SCHEMA, "content": stored})).hexdigest()
    document = {"schema": SCHEMA, "content": stored, "sha256": digest}
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"


def read_document(path: Path) -> dict[str, Any] | None:
    """Return the content of a document, or None if there is none.

    Raises
    ------
    DamagedFileError
        If it is not what was written.
    NewerSchemaError
        If another version of hessent wrote it.
    OSError
        If it cannot be read.
    """
    try:
        raw = bytes(read_whole(path, most=_MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document = parse_bytes(raw)
    except ValueError as error:
        raise DamagedFileError("it is not the JSON that was written") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, str) and schema.startswith(_FAMILY) and schema != SCHEMA:
        raise NewerSchemaError(schema)
    content = document.get("content") if isinstance(document, dict) else None
    if not isinstance(content, dict) or render(content) != raw:
        raise DamagedFileError("it is not the document that was written")
    return content


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line `key: OLD in the folder, NEW now` per value that differs; inner keys are joined by dots."""
    before, now = _flat(old), _flat(new)
    return [
        f"{key}: {_shown(before, key)} in the folder, {_shown(now, key)} now"
        for key in sorted(before.keys() | now.keys())
        if key not in before or key not in now or before[key] != now[key]
    ]


def _flat(content: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{start}{key}.")
        else:
            flat[start + key] = value
    return flat


_LONGEST = 80  # characters of a value in a message


def _shown(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "nothing"
    value = flat[key]
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
