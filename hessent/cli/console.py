"""The two streams of the command line and how they are written to.

Results go to standard output; progress, warnings and errors go to standard error.  Off a terminal rich assumes 80
columns and shortens what is wider, sometimes without a mark; so whole lines are written, which it leaves as they
are.  `NO_COLOR` is honoured by rich itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.text import Text

from hessent.report.names import printable


@dataclass
class Session:
    """What the options `--quiet` and `--debug` set for the whole process, wherever on the line they stand."""

    quiet: bool = False
    debug: bool = False


session = Session()


def results() -> Console:
    """Return the console for results: standard output."""
    return _console(sys.stdout)


def messages() -> Console:
    """Return the console for progress, warnings and errors: standard error."""
    return _console(sys.stderr)


def note(message: str) -> None:
    """Print a line about what is going on to standard error, unless `--quiet` was given."""
    if not session.quiet:
        write_lines(messages(), [Text(printable(message))])


def warn(message: str) -> None:
    """Print a warning to standard error, unless `--quiet` was given."""
    if not session.quiet:
        write_lines(messages(), [Text.assemble(("warning: ", "bold yellow"), printable(message))])


def warn_of_synthetic_data() -> None:
    """Say what numbers from made-up data are worth."""
    warn("the data is synthetic: these numbers say nothing about the trained model")


def print_failure(message: str) -> None:
    """Print an error to standard error; `message` may have several lines and hold names from any file."""
    lines = [Text(printable(line)) for line in message.split("\n")]
    write_lines(messages(), [Text.assemble(("error: ", "bold red"), lines[0]), *lines[1:]])


def terminal_width(console: Console) -> int | None:
    """Return the number of columns of the terminal, or None where the output is not one."""
    return console.width if console.is_terminal else None


def write_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines as they are: names in them are never read as markup, nothing is cut."""
    for line in lines:
        console.print(line, soft_wrap=True)


def write_text(text: str) -> None:
    """Write text for programs to standard output, exactly as it is."""
    sys.stdout.write(text)


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, markup=False, emoji=False)
