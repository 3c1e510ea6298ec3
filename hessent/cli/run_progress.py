"""What is shown while the checkpoints of runs are measured, one after the other.

On a terminal: how many are measured and which one is under way, with the time that all of them still take; below it
the stage of that one, with its rate, and the block being refined.  Elsewhere: a line for each checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from hessent.cli.console import messages, note, session
from hessent.cli.current_estimates import CurrentEstimates
from hessent.cli.progress import STOPPING, Rate
from hessent.cli.stop_signals import StopSignals
from hessent.report.names import printable

if TYPE_CHECKING:
    from hessent.spectra.model import BlockSpectrum

_WHOLE = "refining"  # the stage whose products are most of the work; what comes before tells nothing of its length
_LEAST_SHARE = 0.02  # of the products of a checkpoint: before that nothing is told from its pace


class RunDisplay:
    """Shows the progress over all checkpoints, and turns signals into a wish to stop.

    Used as a context manager: signal handlers and the bars live inside it.  It observes one measurement after the
    other; `begin` and `finish` stand around each.

    Parameters
    ----------
    total : int
        Checkpoints to be measured.
    clock : callable
        Seconds that only grow.

    Attributes
    ----------
    stop : StopSignals
        Whether a signal asked for the end, and which.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.stop = StopSignals(lambda: self.noted(STOPPING))
        self._pace = Pace(total, clock)
        self._console = messages()
        self._bars: Progress | None = None
        self._overall = self._stage = TaskID(0)
        self._estimates = CurrentEstimates()
        self._told: set[str] = set()

    def __enter__(self) -> RunDisplay:
        """Take over the signals and start the bars where there is a terminal to draw them on."""
        self.stop.__enter__()
        if self._console.is_terminal and not session.quiet:
            one_line = Column(no_wrap=True, overflow="ellipsis")
            self._bars = Progress(
                TextColumn("{task.description}", markup=False, table_column=one_line.copy()),
                BarColumn(bar_width=20),
                _Pace(self._pace),
                TextColumn("{task.fields[text]}", markup=False, table_column=one_line),
                console=self._console,
                transient=True,
            )
            self._overall = self._bars.add_task("", total=self._pace.total, text="", overall=True)
            self._stage = self._bars.add_task("", total=None, text="", overall=False)
            self._bars.start()
        return self

    def __exit__(self, *details: object) -> None:
        """Give the signals back and take the bars away."""
        if self._bars is not None:
            self._bars.stop()
        self.stop.__exit__(*details)

    def begin(self, checkpoint: str, why: str) -> None:
        """Tell which checkpoint is measured next, and why."""
        self._pace.begin()
        self._estimates = CurrentEstimates()
        count = f"{self._pace.finished + 1} of {self._pace.total}"
        if self._bars is None:
            left = self._pace.remaining()
            note(f"measuring {count}: {checkpoint}: {why}" + ("" if left is None else f"; {duration(left)} left"))
            return
        self.noted(f"measuring {count}: {checkpoint}: {why}")
        self._bars.update(self._overall, description=f"checkpoint {count}", text=printable(checkpoint))

    def finish(self) -> None:
        """Count a checkpoint as measured."""
        self._pace.finish()
        self._show()

    def noted(self, message: str) -> None:
        """Print a sentence about what was assumed or chosen; what several checkpoints have in common, once."""
        if message in self._told:
            return
        self._told.add(message)
        if self._bars is None:
            note(message)
        else:
            self._bars.console.print(printable(message), markup=False, soft_wrap=True)

    def started(self, stage: str, total: int) -> None:
        """Begin a stage of the measurement under way."""
        self._pace.expect(total if stage == _WHOLE else None)
        if self._bars is not None:
            self._bars.remove_task(self._stage)
            self._stage = self._bars.add_task(stage, total=total or None, text="", overall=False)

    def advanced(self, block: str, matvecs: int) -> None:
        """Count products."""
        self._pace.advance(matvecs)
        if self._bars is not None:
            self._bars.update(self._stage, advance=matvecs, text=self._estimates.line(block))
            self._show()

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Show nothing: with many checkpoints, first looks would bury what is said of them."""

    def refined(self, block: BlockSpectrum) -> None:
        """Remember what is known of a block by now: it stands beside the bar while the block is worked on."""
        if self._bars is not None:
            self._estimates.remember(block)

    def should_stop(self) -> bool:
        """Whether a signal asked for the end."""
        return self.stop.received is not None

    def _show(self) -> None:
        if self._bars is not None:
            self._bars.update(self._overall, completed=self._pace.finished + self._pace.share)


class Pace:
    """How far the work on a number of checkpoints has come, and how long the rest takes.

    Parameters
    ----------
    total : int
        Checkpoints to be measured.
    clock : callable
        Seconds that only grow.

    Attributes
    ----------
    finished : int
        Checkpoints measured.
    """

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self.total = total
        self.finished = 0
        self._clock = clock
        self._seconds = 0.0  # that the finished ones took
        self._begin = clock()
        self._done = 0
        self._expected: int | None = None

    @property
    def share(self) -> float:
        """Share of the products expected that is done of the checkpoint under way; 0 where that is not known."""
        return min(self._done / self._expected, 1.0) if self._expected else 0.0

    def begin(self) -> None:
        """Begin with a checkpoint."""
        self._begin, self._expected, self._done = self._clock(), None, 0

    def expect(self, products: int | None) -> None:
        """Expect so many further products up to the end, or do not know."""
        self._expected = None if products is None else self._done + products

    def advance(self, products: int) -> None:
        """Count products that are done."""
        self._done += products

    def finish(self) -> None:
        """Count a checkpoint as measured."""
        self._seconds += self._clock() - self._begin
        self.finished += 1
        self._expected, self._done = None, 0

    def remaining(self) -> float | None:
        """Return the seconds that all checkpoints still take, None where nothing tells.

        The one under way is expected to take what its own pace says, the others what the finished ones took.
        """
        if self.finished == self.total:
            return 0.0
        spent = self._clock() - self._begin
        usual = self._seconds / self.finished if self.finished else None
        own = spent / self.share if self.share >= _LEAST_SHARE else usual
        if own is None:
            return None
        others = self.total - self.finished - 1
        return max(own - spent, 0.0) + others * (own if usual is None else usual)


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class _Pace(ProgressColumn):
    """The time that is left, in the row of all checkpoints; the rate of products in that of the stage."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._overall, self._rate = pace, Rate()

    def render(self, task: Task) -> Text:
        """Return the cell."""
        if not task.fields["overall"]:
            return self._rate.render(task)
        left = self._overall.remaining()
        return Text("" if left is None else f"{duration(left)} left", style="cyan")
