"""Where a setting comes from: the command line, the checkpoint's metadata, the configuration, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hessent.checkpoint.listing import shown
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.trust import arch_problem, data_problem, loss_problem, options_problems
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

    def place(self, name: str) -> str:
        """Return where a setting comes from, for messages."""
        if getattr(self.request, name, None) is not None:
            return f"--{name.replace('_', '-')}"
        if getattr(self._metadata, name, None) is not None:
            return f"{self.request.checkpoint}: metadata, {name}"
        return f"[tool.hessent] {name}"

    @property
    def seed(self) -> int:
        """Seed of samples and probes; that in the metadata is of the training, and does not count."""
        return int(first_known(self.request.seed, self.config.get("seed"), 0))


def refuse_foreign_code(config: Mapping[str, Any], config_file: Path | None) -> None:
    """Judge a configuration file outside the user's own project as the metadata of a checkpoint are judged.

    It may have come with a downloaded checkpoint, so it names built-in things and relative paths, no code.

    Raises
    ------
    UsageError
        Naming every setting that is refused.
    """
    if may_run_code(config_file):
        return
    judges = {"arch": arch_problem, "loss": loss_problem, "data": data_problem}
    refused = [
        f"{key} = {shown(str(config[key]))}"
        for key, judge in judges.items()
        if key in config and judge(str(config[key])) is not None
    ]
    refused += [f"arch_options: {problem}" for problem in options_problems(config.get("arch_options", {}))]
    if refused:
        raise UsageError(
            "names code, or data by a path of its own, but does not lie in the working folder or above it",
            where=str(config_file),
            problems=refused,
            fix="give these settings on the command line, or run from that folder if you trust it",
        )
