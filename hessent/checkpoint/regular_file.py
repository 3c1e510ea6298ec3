"""Opening a file that may be anything, and noticing when it changes under us.

Only regular files are read: opening a FIFO would wait for ever, a device may never end.  A file that is written
to while we read gives tensors of two different moments, so its size, time and inode are compared before and
after.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from hessent.checkpoint.listing import printable
from hessent.errors import CheckpointError, suggest

LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Stamp:
    """What identifies the content of a file without reading it."""

    size: int  # bytes
    modified: int  # nanoseconds
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Take the stamp from a `stat` result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    @classmethod
    def of_handle(cls, handle: BinaryIO) -> Stamp:
        """Take the stamp of an open file."""
        return cls.of(os.fstat(handle.fileno()))


@contextmanager
def open_regular(path: str) -> Iterator[tuple[BinaryIO, Stamp]]:
    """Open a regular, non-empty file for reading.

    Parameters
    ----------
    path : str
        The file, as the user typed it.

    Yields
    ------
    tuple of BinaryIO and Stamp
        The buffered handle at position 0, and the stamp of the file behind it.

    Raises
    ------
    CheckpointError
        The file is missing, empty, not readable, or not a regular file; or reading it failed.
    """
    if "\0" in path:
        raise CheckpointError("a file name cannot hold a NUL character", where=printable(path))
    try:
        _require_regular(path, os.stat(path))
        # O_NONBLOCK: should the file be swapped for a FIFO after the stat, opening it must not wait for a writer.
        flags = (
            os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        )
        with os.fdopen(os.open(path, flags), "rb") as handle:
            _require_regular(path, os.fstat(handle.fileno()))
            yield handle, Stamp.of_handle(handle)
    except OSError as error:
        raise _refusal(path, error) from error


def require_unchanged(path: str, expected: Stamp) -> None:
    """Compare the file behind `path` with an earlier stamp.

    Raises
    ------
    CheckpointError
        Size, modification time or inode differ, or the file is gone.
    """
    try:
        now = Stamp.of(os.stat(path))
    except OSError as error:
        raise _refusal(path, error) from error
    if now != expected:
        raise changed_while_reading(path)


def changed_while_reading(path: str) -> CheckpointError:
    """Build the error for a file that is not the one it was a moment ago."""
    return CheckpointError(
        "the file changed while reading it",
        where=path,
        expected="the same size, modification time and inode from the first byte to the last",
        fix="wait until the training run has finished writing, then run the same command again",
    )


def read_into(handle: BinaryIO, buffer: memoryview, path: str) -> None:
    """Fill `buffer` from the handle; a file that ends early has shrunk since its header was checked.

    Raises
    ------
    CheckpointError
        The file ended before the buffer was full.
    """
    if handle.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
        raise changed_while_reading(path)


def refuse_pointer(start: bytes, path: str) -> None:
    """Refuse the text that stands in for a file not yet fetched by Git LFS.

    Raises
    ------
    CheckpointError
        `start`, the first bytes of the file, are those of a Git LFS pointer.
    """
    if start.startswith(LFS_POINTER[: max(8, len(start))]):
        raise CheckpointError(
            "this is a Git LFS pointer (a few lines of text), not the weights",
            where=path,
            fix="git lfs pull",
        )


def _require_regular(path: str, status: os.stat_result) -> None:
    kinds = {
        stat.S_ISDIR: "a directory",
        stat.S_ISFIFO: "a FIFO",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a character device",
        stat.S_ISBLK: "a block device",
    }
    for is_kind, kind in kinds.items():
        if is_kind(status.st_mode):
            raise CheckpointError(f"this is {kind}", where=path, expected="a regular file")
    if status.st_size == 0:
        raise CheckpointError(
            "the file is empty (0 bytes)",
            where=path,
            fix="save it again: the program that wrote it was stopped, or the disk was full",
        )


def _refusal(path: str, error: OSError) -> CheckpointError:
    if isinstance(error, FileNotFoundError):
        return CheckpointError("there is no such file", where=path, fix=_near_names(path))
    if isinstance(error, PermissionError):
        return CheckpointError("no permission to read it", where=path, fix=f"chmod u+r {printable(path)}")
    return CheckpointError(f"it cannot be read ({error.strerror or error})", where=path)


def _near_names(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        return suggest(name, os.listdir(folder or ".")) or "ls " + printable(folder or ".")
    except OSError:
        return f"check the path: the folder {printable(folder)!r} does not exist either"
