"""What a run tells while it goes on; a progress bar is one listener, a test another."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hessent.training.result import SavedCheckpoint


class Observer(ABC):
    """Interface of a listener; the run calls it and takes no answer."""

    @abstractmethod
    def noted(self, sentence: str) -> None:
        """Hear a sentence about what was chosen or found."""

    @abstractmethod
    def started(self, step: int, total_steps: int) -> None:
        """Hear that updates begin after `step` of `total_steps`."""

    @abstractmethod
    def stepped(self, step: int, loss: float) -> None:
        """Hear that `step` updates are done, the last on a batch of this mean loss."""

    @abstractmethod
    def saved(self, checkpoint: SavedCheckpoint) -> None:
        """Hear that a checkpoint lies on the disk."""


class Silent(Observer):
    """The listener that does nothing."""

    def noted(self, sentence: str) -> None:
        """Do nothing."""

    def started(self, step: int, total_steps: int) -> None:
        """Do nothing."""

    def stepped(self, step: int, loss: float) -> None:
        """Do nothing."""

    def saved(self, checkpoint: SavedCheckpoint) -> None:
        """Do nothing."""
