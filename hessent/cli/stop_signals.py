"""Signals as a wish to stop: long work asks for it between two products, saves what it has, and ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

_NUMBERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))


class StopSignals:
    """Takes SIGTERM, SIGUSR1 and Ctrl-C over while it is used as a context manager.

    Parameters
    ----------
    told : callable
        Called when a signal has come.

    Attributes
    ----------
    received : int or None
        The signal that asked for the stop.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self.received: int | None = None
        self._told = told
        self._handlers: dict[int, object] = {}

    @property
    def by_user(self) -> bool:
        """Whether it was Ctrl-C."""
        return self.received == signal.SIGINT

    def __enter__(self) -> StopSignals:
        """Take over the signals."""
        for number in _NUMBERS:
            self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *details: object) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: do not wait for the product under way
        self.received = number
        self._told()
