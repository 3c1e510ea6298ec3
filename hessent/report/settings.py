"""Settings of networks and optimizers as one would type them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOT_SET = "–"


def shown_value(value: Any) -> str:
    """Return a value as it would be typed: sizes joined by dashes, other lists by commas, truth values small."""
    if value is None:
        return NOT_SET
    if isinstance(value, list | tuple):
        sizes = all(isinstance(part, int) for part in value)
        return ("-" if sizes else ",").join(shown_value(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown_settings(settings: Mapping[str, Any]) -> str:
    """Return settings as ``name=value, name=value``."""
    return ", ".join(f"{name}={shown_value(value)}" for name, value in settings.items())
