"""Files that appear whole or not at all: written beside, forced to the disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable

from hessent.checkpoint.listing import printable
from hessent.errors import StorageError

TEMPORARY_SUFFIX = ".tmp"


def write_whole(path: str, parts: Iterable[memoryview]) -> None:
    """Write a file in one visible step, replacing one that is there.

    Parameters
    ----------
    path : str
        The file; missing folders are made.
    parts : iterable of memoryview
        Its bytes, in order.

    Raises
    ------
    StorageError
        Writing failed; nothing is left behind, and a file that was there is as it was.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        os.makedirs(folder or ".", exist_ok=True)
        try:
            _write_new(temporary, parts)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _force_folder(folder or ".")
    except OSError as error:
        raise _failure(path, error) from error


def _write_new(path: str, parts: Iterable[memoryview]) -> None:
    with open(path, "xb") as handle:
        for part in parts:
            handle.write(part)
        handle.flush()
        os.fsync(handle.fileno())


def _force_folder(folder: str) -> None:
    # The new name lives in the folder: without this a power cut may bring the old one back.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(path: str, error: OSError) -> StorageError:
    folder = printable(os.path.dirname(path) or ".")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("it could not be written: the disk is full", where=path, fix=f"df -h {folder}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            "it could not be written: no permission", where=path, fix=f"another folder, or chmod u+w {folder}"
        )
    return StorageError(f"it could not be written: {error.strerror or error}", where=path)
