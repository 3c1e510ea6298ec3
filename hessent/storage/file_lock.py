"""Locks on files that the kernel frees when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from hessent.storage.process_mark import ProcessMark

if sys.platform != "win32":
    import fcntl

_UNSUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_LONGEST_MARK = 4096
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # and no waiting for a pipe


class LocksUnsupportedError(OSError):
    """The file system has no locks."""


class FileLock:
    """An exclusive lock on a file, which is made where it is missing and holds the mark of its holder.

    Two locks on one file exclude each other within a process, too.

    Parameters
    ----------
    path : path-like
        The file; it must not be a link.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None
        self._pid = 0  # of the process that took it: a child made by fork must not let it go

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock if nobody has it.

        Returns
        -------
        bool
            Whether this object now holds it.

        Raises
        ------
        LocksUnsupportedError
            If the file system has no locks.
        OSError
            If the file cannot be made or opened.
        """
        while not self.held:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
            try:
                if not _lock(descriptor):
                    os.close(descriptor)
                    return False
                # Between opening and locking the file may have been removed: a lock on it would keep nobody out.
                if _is_at(descriptor, self.path):
                    self._descriptor, self._pid = descriptor, os.getpid()
                    self._write_mark(descriptor)
                    return True
            except BaseException:
                self._descriptor = None
                os.close(descriptor)
                raise
            os.close(descriptor)
        return True

    def release(self) -> None:
        """Let the lock go; the file stays."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                _unlock(descriptor)
        os.close(descriptor)

    def __del__(self) -> None:
        """Let go of what nobody can release any more."""
        self.release()

    def stands(self) -> bool:
        """Whether the lock is held and its file still lies at its path, so that it keeps others out."""
        return self._descriptor is not None and _is_at(self._descriptor, self.path)

    def held_elsewhere(self) -> bool:
        """Whether another object or process holds the lock.

        Raises
        ------
        OSError
            See `acquire`; a file that is not there is held by nobody.
        """
        if self.held:
            return False
        try:
            descriptor = os.open(self.path, os.O_RDWR | _NO_LINK)
        except FileNotFoundError:
            return False
        try:
            return not _lock(descriptor)
        finally:
            os.close(descriptor)

    def holder(self) -> str:
        """Return who took the lock last, for messages: "process 17 on HOST (since …)"."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | _NO_LINK)
            with open(descriptor, "rb") as file:
                return ProcessMark.from_bytes(file.read(_LONGEST_MARK)).describe()
        except (OSError, ValueError):
            return "another process"

    def _write_mark(self, descriptor: int) -> None:
        # The lock holds without it: a full disk costs no more than the name in a message.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, ProcessMark.own().to_bytes(), 0)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        raise LocksUnsupportedError(errno.ENOSYS, "this system has no locks that die with their holder")

    def _unlock(descriptor: int) -> None:
        """Nothing was locked."""

else:

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                raise LocksUnsupportedError(error.errno, error.strerror) from error
            raise
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
