"""What a long run shows while it works, and how it is asked to stop.

On a terminal: a bar with the share done, the rate of products, the remaining time, and the block being refined.
Elsewhere: one line when a stage begins.  All of it on standard error.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from hessent.cli.console import messages, note, session, terminal_width, write_lines
from hessent.report.names import printable

if TYPE_CHECKING:
    from hessent.spectra.model import BlockSpectrum

_SECONDS_BETWEEN_ESTIMATES = 2.0
_STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))


class SpectrumDisplay:
    """Shows a measurement's progress and turns signals into a wish to stop.

    Used as a context manager: signal handlers and the bar live inside it.

    Attributes
    ----------
    signal_received : int or None
        The signal that asked for the stop.
    """

    def __init__(self) -> None:
        self.signal_received: int | None = None
        self._console = messages()
        self._bar: Progress | None = None
        self._task: int | None = None
        self._begin = time.monotonic()
        self._estimates: dict[str, str] = {}
        self._next_estimate = 0.0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> SpectrumDisplay:
        """Take over the signals and start the bar where there is a terminal to draw it on."""
        for number in _STOP_SIGNALS:
            self._handlers[number] = signal.signal(number, self._on_signal)
        if self._console.is_terminal and not session.quiet:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                _Rate(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[block]}", markup=False),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        """Give the signals back and take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def noted(self, message: str) -> None:
        """Print a sentence about what was assumed or chosen, above the bar where there is one."""
        if self._bar is None:
            note(message)
        else:
            self._bar.console.print(printable(message), markup=False, soft_wrap=True)

    def started(self, stage: str, total: int) -> None:
        """Begin a stage."""
        if self._bar is None:
            expected = f": about {total:,} products" if total else ""
            note(f"{stage}{expected} ({time.monotonic() - self._begin:.0f} s so far)")
            return
        if self._task is not None:
            self._bar.remove_task(self._task)  # type: ignore[arg-type]
        self._task = self._bar.add_task(stage, total=total or None, block="")

    def advanced(self, block: str, matvecs: int) -> None:
        """Count products."""
        if self._bar is not None and self._task is not None:
            text = self._estimates.get(block, block)
            self._bar.update(self._task, advance=matvecs, block=printable(text))  # type: ignore[arg-type]

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Show the first estimates of all blocks, still with wide intervals."""
        from hessent.report.first_look import first_look_table
        from hessent.report.terminal import table_lines

        if not session.quiet:
            lines = table_lines(first_look_table(blocks), terminal_width(self._console))
            write_lines(self._console, [Text("first look, to be refined:"), *lines, Text()])

    def refined(self, block: BlockSpectrum) -> None:
        """Remember what is known of a block by now: it stands beside the bar while the block is worked on."""
        now = time.monotonic()
        if self._bar is not None and self._task is not None and now >= self._next_estimate:
            from hessent.report.progress import current_estimate

            self._next_estimate = now + _SECONDS_BETWEEN_ESTIMATES
            self._estimates[block.name] = current_estimate(block)

    def should_stop(self) -> bool:
        """Whether a signal asked for the end."""
        return self.signal_received is not None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: do not wait for the product under way
        self.signal_received = number
        self.noted("stopping after the product under way …")


class _Rate(ProgressColumn):
    """Products per second."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} products/s" if speed else "", style="cyan")
