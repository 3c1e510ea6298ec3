"""`Route`: how a block is worked on, one way as good as another to who drives it."""

from __future__ import annotations

from typing import Protocol

from hessent.eigensolver.requests import Products
from hessent.eigensolver.saved_state import SavedState, StateReader


class Route(Protocol):
    """One way to a block's spectrum; tells of every better one as it proceeds."""

    @property
    def wants_groups(self) -> bool:
        """Whether the next product is of use with the data groups' contributions."""

    def remaining_matvecs(self) -> int:
        """Products expected from here on; of an adaptive route, at least those up to its next decision."""

    def first_look(self) -> Products[None]:
        """Get a first estimate with few products, where that leads anywhere."""

    def finish(self) -> Products[None]:
        """Work to the tolerance, or to the end of the budget."""

    def saved_state(self) -> SavedState | None:
        """Return all there is to go on from; None where nothing would be lost."""

    def restore(self, state: StateReader) -> None:
        """Go on from a saved state, in place of a fresh start; ValueError if it does not fit."""
