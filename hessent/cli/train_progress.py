"""What a training run shows while it works, and how it is asked to stop.

On a terminal: a bar with the share done, the loss of the last batch, the rate of updates and the remaining time.
Elsewhere: one line for each checkpoint.  All of it on standard error.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from hessent.cli.console import messages, note, session, write_lines
from hessent.errors import HessentError
from hessent.report.names import printable
from hessent.report.numbers import format_number
from hessent.training.observer import Observer
from hessent.training.result import SavedCheckpoint

_STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))
_BY_USER, _BY_SIGNAL = 130, 75  # exit codes


class TrainingDisplay(Observer):
    """Shows a run's progress, and ends it between two updates when a signal asks for that.

    Used as a context manager: signal handlers and the bar live inside it.

    Parameters
    ----------
    out : str
        The folder of the run, for messages.
    """

    def __init__(self, out: str) -> None:
        self._out = out
        self._signal: int | None = None
        self._saved: int | None = None  # step of the last checkpoint
        self._total_steps = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> TrainingDisplay:
        """Take over the signals."""
        for number in _STOP_SIGNALS:
            self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back and take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def noted(self, sentence: str) -> None:
        """Print a sentence, above the bar where there is one."""
        if self._bar is None:
            note(sentence)
        else:
            write_lines(self._bar.console, [Text(printable(sentence))])

    def started(self, step: int, total_steps: int) -> None:
        """Begin the bar, where there is a terminal to draw it on."""
        self._total_steps = total_steps
        if step:
            self._saved = step
            note(f"going on from step {step:,} of {total_steps:,}")
        console = messages()
        if not console.is_terminal or session.quiet:
            return
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=total_steps, completed=step, loss="", rate="")
        self._bar.start()

    def stepped(self, step: int, loss: float) -> None:
        """Move the bar, and end the run if a signal asked for it.

        Raises
        ------
        HessentError
            With the exit code of the signal.
        """
        if self._bar is not None and self._task is not None:
            speed = self._bar.tasks[0].speed
            rate = f"{speed:,.0f} steps/s" if speed else ""
            self._bar.update(self._task, completed=step, loss=f"loss {format_number(loss)}", rate=rate)
        if self._signal is not None:
            raise self._interruption(step)

    def saved(self, checkpoint: SavedCheckpoint) -> None:
        """Print the scores of a checkpoint."""
        self._saved = checkpoint.step
        scores = ", ".join(
            f"{name.replace('_', ' ')} {format_number(value)}" for name, value in checkpoint.metrics.items()
        )
        self.noted(f"step {checkpoint.step:,} of {self._total_steps:,}: {scores}")

    def _interruption(self, step: int) -> HessentError:
        by_user = self._signal == signal.SIGINT
        kept = "no checkpoint" if self._saved is None else f"its checkpoints up to step {self._saved:,}"
        error = HessentError(
            f"stopped after step {step:,} of {self._total_steps:,}; the folder holds {kept}",
            where=self._out,
            fix="the same command again: it goes on from there",
        )
        error.exit_code = _BY_USER if by_user else _BY_SIGNAL
        return error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: do not wait for the update under way
        self._signal = number
