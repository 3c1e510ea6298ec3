"""What the Lion analysis shows while it works: a bar of mini-batches on a terminal, nothing elsewhere."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hessent.cli.console import messages, note, session
from hessent.report.names import printable


class LionDisplay:
    """Shows progress; used as a context manager."""

    def __init__(self) -> None:
        console = messages()
        self._bar = None
        if console.is_terminal and not session.quiet:
            columns = TextColumn("mini-batches"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> LionDisplay:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def noted(self, message: str) -> None:
        """Print a sentence about what was assumed."""
        if self._bar is None:
            note(message)
        else:
            self._bar.console.print(printable(message), markup=False, soft_wrap=True)

    def advanced(self, done: int, total: int) -> None:
        """Show how many mini-batches are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
