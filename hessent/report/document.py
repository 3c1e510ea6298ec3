"""JSON documents: strict, unrounded, with the schema's name first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def to_json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text in ASCII, so that no name can disturb a terminal or an encoding.

    Raises
    ------
    ValueError
        If a number is NaN or infinite: whoever builds a document writes None for what is unknown.
    """
    return json.dumps(document, indent=1, allow_nan=False) + "\n"
