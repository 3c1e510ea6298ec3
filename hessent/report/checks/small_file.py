"""Reading a small text file that may be anything: never waiting for a pipe, never more than was agreed on."""

from __future__ import annotations

import os
import stat

from hessent.errors import InputError


def read_small(path: str, most: int, error_class: type[InputError], what: str) -> bytes:
    """Return the bytes of a regular file.

    Parameters
    ----------
    path : str
        As the user typed it; links are followed.
    most : int
        Most bytes it may have.
    error_class : type of InputError
        What is raised.
    what : str
        What it is ("the policy"), for messages.

    Raises
    ------
    InputError
        Of the class asked for, if it is missing, no regular file, too large or not readable.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise error_class(f"{what} is not a regular file", where=path)
            content = file.read(most + 1)
    except FileNotFoundError as error:
        raise error_class("no such file", where=path) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise error_class(f"{what} cannot be read: {reason}", where=path) from error
    if len(content) > most:
        raise error_class(f"{what} has more than {most:,} bytes", where=path)
    return content
