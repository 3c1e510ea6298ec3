"""What a long run shows while it works, and how it is asked to stop.

On a terminal: a bar with the share done, the rate of products, the remaining time, and the block being refined.
Elsewhere: one line when a stage begins.  All of it on standard error.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from hessent.cli.console import messages, note, session, terminal_width, write_lines
from hessent.cli.current_estimates import CurrentEstimates
from hessent.cli.stop_signals import StopSignals
from hessent.report.names import printable

if TYPE_CHECKING:
    from hessent.spectra.model import BlockSpectrum

STOPPING = "stopping after the product under way …"


class SpectrumDisplay:
    """Shows a measurement's progress and turns signals into a wish to stop.

    Used as a context manager: signal handlers and the bar live inside it.

    Attributes
    ----------
    stop : StopSignals
        Whether a signal asked for the end, and which.
    """

    def __init__(self) -> None:
        self.stop = StopSignals(lambda: self.noted(STOPPING))
        self._console = messages()
        self._bar: Progress | None = None
        self._task: int | None = None
        self._begin = time.monotonic()
        self._estimates = CurrentEstimates()

    def __enter__(self) -> SpectrumDisplay:
        """Take over the signals and start the bar where there is a terminal to draw it on."""
        self.stop.__enter__()
        if self._console.is_terminal and not session.quiet:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                Rate(),
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
        self.stop.__exit__(*details)

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
            line = self._estimates.line(block)
            self._bar.update(self._task, advance=matvecs, block=line)  # type: ignore[arg-type]

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Show the first estimates of all blocks, still with wide intervals."""
        from hessent.report.first_look import first_look_table
        from hessent.report.terminal import table_lines

        if not session.quiet:
            lines = table_lines(first_look_table(blocks), terminal_width(self._console))
            write_lines(self._console, [Text("first look, to be refined:"), *lines, Text()])

    def refined(self, block: BlockSpectrum) -> None:
        """Remember what is known of a block by now: it stands beside the bar while the block is worked on."""
        if self._bar is not None and self._task is not None:
            self._estimates.remember(block)

    def should_stop(self) -> bool:
        """Whether a signal asked for the end."""
        return self.stop.received is not None


class Rate(ProgressColumn):
    """Products per second."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} products/s" if speed else "", style="cyan")
