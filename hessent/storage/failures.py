"""What to say when a file cannot be written: why, how much room it wants, and what to do."""

from __future__ import annotations

import errno
import os
import shlex

from hessent.errors import StorageError

_GO_ON = "then run the same command again"


def storage_failure(
    path: str | os.PathLike[str], error: OSError | ValueError, *, wanted: int | None = None
) -> StorageError:
    """Return the error for a file that could not be written.

    Parameters
    ----------
    path : path-like
        The file, as the user typed it.
    error : OSError or ValueError
        What the system said.
    wanted : int, optional
        Bytes that the file would have had.

    Returns
    -------
    StorageError
        To be raised from `error`.
    """
    where = os.fspath(path)
    folder = os.path.dirname(where) or "."
    quoted = shlex.quote(folder)
    room = f"{wanted:,} bytes of free space in '{folder}'" if wanted is not None else None
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC:
        return StorageError(
            "cannot be written: the disk is full",
            where=where,
            expected=room,
            fix=f"free some space (df -h {quoted}) or name another place, {_GO_ON}",
        )
    if code == errno.EDQUOT:
        return StorageError(
            "cannot be written: your share of the disk is used up",
            where=where,
            expected=room,
            fix=f"free some space (quota -s) or name another place, {_GO_ON}",
        )
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = "the file system is read-only" if code == errno.EROFS else "no permission"
        fix = f"name another folder, {_GO_ON}" if code == errno.EROFS else f"another folder, or chmod u+w {quoted}"
        return StorageError(f"cannot be written: {why}", where=where, fix=fix)
    reason = getattr(error, "strerror", None) or str(error)
    if code == errno.EISDIR:
        return StorageError(f"cannot be written: {reason}", where=where, expected="the name of a file")
    missing = code == errno.ENOENT and not os.path.isdir(folder)
    return StorageError(
        f"cannot be written: {reason}",
        where=where,
        expected=f"a folder '{folder}' that can be written",
        fix=f"mkdir -p {quoted}" if missing else f"name another place, {_GO_ON}",
    )
