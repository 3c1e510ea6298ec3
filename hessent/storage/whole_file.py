"""Files that appear whole or not at all: written beside, forced to the disk, put in place in one step.

Whatever happens in between (a full disk, a signal, the loss of power), the old file or the new one is there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator

from hessent.errors import StorageError
from hessent.storage.failures import storage_failure
from hessent.storage.sealed_file import DamagedFileError, Part

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+-[0-9a-f]{8}\.tmp", re.DOTALL)
_LONGEST_NAME = 200  # bytes: a target may have 255, and the temporary name, which says more, must not have more
_KEPT_OF_LONGER = 40  # characters
# Bytes as they are, not those behind a link, and no waiting for who would write into a pipe.
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# What file systems answer that cannot force a folder to the disk, and those that have no hard links.
_NO_FORCE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def write_whole(
    path: str | os.PathLike[str],
    content: bytes | Iterable[Part],
    *,
    make_folders: bool = False,
    follow_link: bool = True,
) -> None:
    """Write a file in one visible step, replacing one that is there.

    Parameters
    ----------
    path : path-like
        Target, as the user typed it.
    content : bytes or iterable of bytes-like
        The whole new content, or its parts in order.
    make_folders : bool
        Make folders that are missing.
    follow_link : bool
        Where the path is a symbolic link, replace the file it leads to; otherwise the link itself.

    Raises
    ------
    StorageError
        If the disk is full, the folder cannot be written, …; a file that was there is then still there, whole, and
        nothing else is left behind.
    """
    _write(path, content, os.replace, make_folders=make_folders, follow_link=follow_link)


def write_first(path: str | os.PathLike[str], content: bytes) -> bool:
    """Write a file in one visible step unless there is one: of several processes, one succeeds.

    On a file system without hard links the look and the step are two: there the caller must keep others out.

    Parameters
    ----------
    path : path-like
        Target.
    content : bytes
        Its whole content.

    Returns
    -------
    bool
        Whether it was written; False if a file was there already.

    Raises
    ------
    StorageError
        See `write_whole`.
    """
    try:
        _write(path, content, _link, make_folders=False, follow_link=False)
    except StorageError as error:
        if isinstance(error.__cause__, FileExistsError):
            return False
        raise
    return True


def read_whole(path: str | os.PathLike[str], *, most: int) -> bytearray:
    """Read a regular file; never wait for a pipe or follow a link.

    Parameters
    ----------
    path : path-like
        The file.
    most : int
        Most bytes that it may have.

    Returns
    -------
    bytearray
        Its content.

    Raises
    ------
    DamagedFileError
        If it is no regular file, is longer than `most`, is cut while it is read, or lies on a bad part of the disk.
    OSError
        If there is no such file, or no permission.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _PLAIN)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DamagedFileError("it is not a regular file")
            if status.st_size > most:
                raise DamagedFileError(f"it has {status.st_size:,} bytes, of which at most {most:,} can be its own")
            return _read(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ELOOP):
            raise DamagedFileError(f"it cannot be read: {error.strerror}") from error
        raise


def _read(descriptor: int, size: int) -> bytearray:
    content = bytearray(size)
    view, position = memoryview(content), 0
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while position < size:
            count = file.readinto(view[position:])
            if not count:
                raise DamagedFileError(f"it breaks off after {position:,} bytes")
            position += count
    return content


def temporary_of(name: str) -> str | None:
    """Return the name of the target whose temporary file is called `name`, or None.

    Such a file stays behind where a process was killed while it wrote.  Of a name of more than 200 bytes the first
    40 letters are returned.
    """
    found = _TEMPORARY.fullmatch(name)
    return found["name"] if found is not None else None


def _temporary_name(name: str) -> str:
    kept = name if len(os.fsencode(name)) <= _LONGEST_NAME else name[:_KEPT_OF_LONGER]
    return f".{kept}.{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _write(
    path: str | os.PathLike[str],
    content: bytes | Iterable[Part],
    put_in_place: Callable[[str, str], None],
    *,
    make_folders: bool,
    follow_link: bool,
) -> None:
    parts: Iterable[Part] = (content,) if isinstance(content, bytes) else content
    wanted = len(content) if isinstance(content, bytes) else None
    try:
        folder, name = os.path.split(os.path.realpath(path) if follow_link else os.path.abspath(path))
        target = os.path.join(folder, name)
        _refuse_special(target)
        if make_folders:
            os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, _temporary_name(name))
        with _forced_afterwards(folder):
            try:
                _write_new(temporary, parts)
                put_in_place(temporary, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
    except (OSError, ValueError) as error:
        raise storage_failure(path, error, wanted=wanted) from error


def _refuse_special(target: str) -> None:
    """Replacing a device or a pipe by a file would break whatever else uses it; a folder cannot be replaced."""
    try:
        mode = os.lstat(target).st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise OSError(errno.EINVAL, "it is not a regular file, and only such a one can be replaced")


def _write_new(path: str, parts: Iterable[Part]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666)
    try:
        for part in parts:
            left = memoryview(part).cast("B")
            while left:
                left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(temporary: str, target: str) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        os.replace(temporary, target)
    else:
        os.unlink(temporary)


@contextlib.contextmanager
def _forced_afterwards(folder: str) -> Iterator[None]:
    """Force a folder to the disk: a new name lives in it, and a power cut might bring the old one back."""
    if os.name != "posix":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_FORCE:
                raise
    finally:
        os.close(descriptor)
