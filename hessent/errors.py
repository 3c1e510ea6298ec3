"""The errors a user can meet, each with the exit code it ends in.

A message says what was found, where, what was expected and what to do instead; when several things are wrong,
all of them are listed at once.  The classes build the text from those parts, so every message reads alike.
`HessentError` is the root; its two branches are the user's side (`InputError`, exit 2) and the computation's
(`ComputationError`, exit 3).  Everything else that escapes is a bug of ours (exit 70).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class HessentError(Exception):
    """Root of all errors that hessent raises on purpose.

    Parameters
    ----------
    found : str
        What is wrong, as a full sentence without the final full stop.
    where : str, optional
        The file, option or block concerned, written as the user typed it.
    expected : str, optional
        What would have been right.
    fix : str, optional
        What to type or change instead.
    problems : sequence of str, optional
        Single findings, one line each, when there are several.
    """

    exit_code = 70

    def __init__(
        self,
        found: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        self.found = found
        self.where = where
        self.expected = expected
        self.fix = fix
        self.problems = tuple(problems)
        super().__init__(found)

    def __str__(self) -> str:
        """Compose the message: place, finding, list of problems, expectation, remedy.

        Names in it may come from any file: what would move the cursor is escaped, and a part of several lines is
        indented, so that none of them can be taken for a line of ours.
        """
        lines = [f"{self.where}: {self.found}" if self.where else self.found]
        lines += [f"  - {problem}" for problem in self.problems]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  try: {self.fix}")
        return "\n".join(_harmless(line) for line in lines)


def _harmless(part: str) -> str:
    if part.isprintable():
        return part
    return "\n    ".join("".join(map(_visible, line)) for line in part.split("\n"))


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")


class InputError(HessentError):
    """The input or the usage is wrong; nothing was computed (exit 2)."""

    exit_code = 2


class UsageError(InputError):
    """An option or an argument is wrong."""


class CheckpointError(InputError):
    """A checkpoint cannot be read, or does not match the architecture."""


class ArchitectureError(InputError):
    """An architecture is unknown, ambiguous or cannot be built."""


class DataError(InputError):
    """The data cannot be found, read, or does not fit the model."""


class SpectrumFileError(InputError):
    """A spectrum file is missing, damaged, or of an unknown version."""


class ComputationError(HessentError):
    """The computation could not finish (exit 3)."""

    exit_code = 3


class NonFiniteError(ComputationError):
    """A loss or a product is NaN or infinite."""


class SelfCheckError(ComputationError):
    """The operator failed its start-up check: its products cannot be trusted."""


class StorageError(ComputationError):
    """A result could not be written (disk full, folder not writable)."""


class InterruptedRunError(HessentError):
    """A signal asked for the end; what was known is saved (exit 130 for Ctrl-C, 75 for SIGTERM and SIGUSR1).

    Parameters
    ----------
    file : str
        Where it is saved.
    by_user : bool
        Whether it was Ctrl-C.
    """

    def __init__(self, file: str, *, by_user: bool) -> None:
        super().__init__(
            "stopped early: it holds what was measured until then, marked as not complete",
            where=file,
            fix="the same command goes on from there",
        )
        self.exit_code = 130 if by_user else 75


# What torch says where it raises no class of its own.
_MEMORY_MESSAGES = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "ALLOC_FAILED")


def memory_ran_out(error: BaseException) -> bool:
    """Whether an error says that memory is exhausted, of the machine or of a device.

    torch's own class is told by its name: importing torch to compare classes would take seconds.

    Parameters
    ----------
    error : BaseException
        Whatever was raised.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MEMORY_MESSAGES)


def below_least(options: Iterable[tuple[str, float | None, float]]) -> list[str]:
    """Return a line for each option, as (name, value, least value), that was given and is below its least."""
    return [
        f"--{name} {value}: must be at least {least}"
        for name, value, least in options
        if value is not None and not value >= least
    ]


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return a "did you mean" sentence for a mistyped name.

    Parameters
    ----------
    name : str
        What the user typed.
    known : iterable of str
        The valid names.

    Returns
    -------
    str or None
        ``"did you mean 'x' or 'y'?"`` for up to three near names, else None.
    """
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    if not near:
        return None
    return "did you mean " + " or ".join(f"'{candidate}'" for candidate in near) + "?"
