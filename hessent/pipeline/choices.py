"""Where a setting comes from: the command line, the checkpoint's metadata, the configuration, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.errors import UsageError
from hessent.pipeline.configuration import may_run_code
from hessent.pipeline.request import SpectrumRequest, first_known


class Chooser:
    """Looks a setting up on the command line, in the metadata, in the configuration, in this order.

    Parameters
    ----------
    request : SpectrumRequest
        The command line.
    metadata : CheckpointMetadata
        What the checkpoint says of itself.
    config : mapping
        `[tool.hessent]`, checked.
    """

    def __init__(self, request: SpectrumRequest, metadata: CheckpointMetadata, config: Mapping[str, Any]) -> None:
        self.request = request
        self.config = config
        self._metadata = metadata

    def __call__(self, name: str) -> Any:
        """Return the setting, or None where nobody says."""
        return first_known(
            getattr(self.request, name, None), getattr(self._metadata, name, None), self.config.get(name)
        )

    @property
    def seed(self) -> int:
        """Seed of samples and probes; that in the metadata is of the training, and does not count."""
        return int(first_known(self.request.seed, self.config.get("seed"), 0))


def refuse_foreign_code(config: Mapping[str, Any], config_file: Path | None) -> None:
    """Refuse a configuration file that names code and lies outside the user's own project.

    Raises
    ------
    UsageError
        Naming every such setting.
    """
    if may_run_code(config_file):
        return
    named = [
        key for key in ("arch", "data", "loss") if ".py" in str(config.get(key, "")) or _dotted(config.get(key))
    ]
    if named:
        raise UsageError(
            "names code to import, but does not lie in the working folder or above it",
            where=str(config_file),
            problems=[f"{key} = {config[key]!r}" for key in named],
            fix="give these settings on the command line, or run from that folder if you trust it",
        )


def _dotted(value: Any) -> bool:
    head, colon, tail = str(value or "").partition(":")
    return bool(colon) and "." in head and tail.isidentifier()
