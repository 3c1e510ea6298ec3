"""The console script: runs the application and turns every outcome into an exit code.

0 success · 1 a check failed · 2 the input or the usage is wrong · 3 the computation could not finish · 70 a bug of
ours · 75 stopped with the state saved · 130 Ctrl-C.  A bare Typer application would end a failed check, an error of
ours and a crash all with 1.  A closed pipe (``hessent archs | head -1``) is not an error.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence

import typer

from hessent.cli.app import build_app
from hessent.cli.console import print_failure, session
from hessent.errors import ComputationError, HessentError, memory_ran_out, suggest

SUCCESS = 0
INPUT_WRONG = 2
COULD_NOT_FINISH = 3
BUG = 70
INTERRUPTED = 130
_QUOTED = re.compile(r"'([^']*)'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``hessent``; by default those the process was started with.

    Returns
    -------
    int
        The exit code of the contract (see the module's docstring).
    """
    session.quiet = session.debug = False
    _prepare_streams()
    try:
        outcome = _run(arguments)
        sys.stdout.flush()
    except BaseException as error:  # every way out ends in a code of the contract
        return _exit_code(error)
    return outcome


def _run(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    outcome = build_app()(args=words, prog_name="hessent", standalone_mode=False)
    return outcome if isinstance(outcome, int) else SUCCESS


def _exit_code(error: BaseException) -> int:
    """Report `error` on standard error, where it is one, and return its exit code."""
    if _is_closed_pipe(error):
        _discard_standard_output()
        return SUCCESS
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else SUCCESS
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        print_failure("interrupted")
        return INTERRUPTED
    if session.debug:
        traceback.print_exception(error)
    if isinstance(error, typer.TyperException):
        return _usage_failure(error)
    if isinstance(error, HessentError):
        print_failure(str(error))
        return error.exit_code
    known = _known_failure(error)
    if known is not None:
        print_failure(str(known))
        return known.exit_code
    print_failure(
        f"hessent failed in a way it should not: {type(error).__name__}: {error}\n"
        "  this is a bug in hessent, not in your input; please report it with the command you typed"
        + ("" if session.debug else "\n  try: the same command with --debug, which shows the traceback to report")
    )
    return BUG


def _usage_failure(error: typer.TyperException) -> int:
    """Report a wrong option or argument, naming the page of help to read."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "hessent"
    # Typer says what an option takes, but not what was typed; the error it wraps knows.
    findings: list[dict[str, object]] = getattr(error.__cause__, "errors", list)()
    found = "".join(f"\n  found: {finding['input']!r}" for finding in findings if "input" in finding)
    message = error.format_message().replace("Value error, ", "", 1)  # of the library below
    near = _near_choice(message)
    print_failure(f"{message}{found}\n  try: {near + ' ' if near else ''}{path} --help")
    return INPUT_WRONG


def _near_choice(message: str) -> str | None:
    """Return "did you mean 'json'?" where a word was typed that is none of an option's choices, and one is near.

    Typer says what was typed and what the choices are in its message alone.
    """
    before, _, listed = message.partition(" is not one of ")
    typed = _QUOTED.findall(before)
    return suggest(typed[-1], _QUOTED.findall(listed)) if typed else None


def _known_failure(error: BaseException) -> ComputationError | None:
    """Translate what the machine ran out of into an error of ours."""
    if memory_ran_out(error):
        return ComputationError("out of memory", fix="a smaller --batch-size or fewer --samples")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ComputationError("the disk is full", where=error.filename, fix="free some space and run it again")
    return None


def _is_closed_pipe(error: BaseException) -> bool:
    # Typer turns a closed pipe into SystemExit(1); the pipe is then what that exit was raised from or during.
    return any(isinstance(link, BrokenPipeError) for link in (error, error.__cause__, error.__context__))


def _discard_standard_output() -> None:
    """Send what is still buffered nowhere, or the interpreter complains about the closed pipe when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _prepare_streams() -> None:
    """Make sure that every sentence can be printed, wherever the output goes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started with the stream closed (>&-)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            # In a plain C locale Python falls back to ASCII, which has no λ; any other narrow encoding gets a "?".
            plain = stream.encoding == "ascii" and "PYTHONIOENCODING" not in os.environ
            stream.reconfigure(errors="replace", encoding="utf-8" if plain else None)


if __name__ == "__main__":
    sys.exit(main())
