"""Writing a file so that it is either the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hessent.errors import StorageError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file at `path` by `content`, or leave it untouched.

    The content is written beside the target, flushed to the disk and renamed over it; then the folder is flushed.
    A symbolic link is followed: the file it leads to is replaced.

    Parameters
    ----------
    path : path-like
        Target, as the user typed it.
    content : bytes
        The whole new content.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written; the old file is then still there, whole.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        _write_and_flush(beside, content)
        os.replace(beside, target)
        _flush_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise StorageError(
            f"cannot be written: {error.strerror or error}",
            where=os.fspath(path),
            expected=f"a folder that can be written, with {len(content):,} bytes of free space",
            fix="free some space or name another place with --out, then run the same command again",
        ) from error


def _write_and_flush(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
