"""What is known by now of the blocks under refinement, as it stands beside a bar."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hessent.report.names import printable

if TYPE_CHECKING:
    from hessent.spectra.model import BlockSpectrum

_SECONDS_BETWEEN = 2.0  # an estimate takes a moment


class CurrentEstimates:
    """Remembers a line for each block."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._next = 0.0

    def remember(self, block: BlockSpectrum) -> None:
        """Estimate a block anew, if it is time to."""
        now = time.monotonic()
        if now >= self._next:
            from hessent.report.progress import current_estimate

            self._next = now + _SECONDS_BETWEEN
            self._lines[block.name] = current_estimate(block)

    def line(self, name: str) -> str:
        """Return what stands beside the bar while a block is worked on."""
        return printable(self._lines.get(name, name))
