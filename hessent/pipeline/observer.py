"""Who watches a measurement: the command line's progress display, the recorder of the file, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hessent.spectra.model import BlockSpectrum


class Observer(Protocol):
    """What a measurement tells, and the one question that it asks."""

    def noted(self, message: str) -> None:
        """Tell what was assumed, stripped or chosen: one sentence."""

    def started(self, stage: str, total: int) -> None:
        """Tell that a stage of `total` products begins."""

    def advanced(self, block: str, matvecs: int) -> None:
        """Tell that products with a block were done."""

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Show the first estimates of all blocks."""

    def refined(self, block: BlockSpectrum) -> None:
        """Show a block whose spectrum has become better."""

    def should_stop(self) -> bool:
        """Whether the user wants the work to end now."""


class Silent:
    """An observer that shows nothing and never stops."""

    def noted(self, message: str) -> None:
        """Ignore."""

    def started(self, stage: str, total: int) -> None:
        """Ignore."""

    def advanced(self, block: str, matvecs: int) -> None:
        """Ignore."""

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Ignore."""

    def refined(self, block: BlockSpectrum) -> None:
        """Ignore."""

    def should_stop(self) -> bool:
        """Return False."""
        return False
