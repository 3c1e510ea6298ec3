"""Any number of processes at work in one journal, each unit claimed by one of them.

A lock is freed by the kernel when its process dies, however it dies: units of a killed process are free at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator

from hessent.errors import StorageError
from hessent.journal.folder import JournalFolder, remove
from hessent.journal.presence import THIS_PROCESS
from hessent.storage.file_lock import FileLock

_PATIENCE = 60.0  # seconds that another process may take at the door
_BETWEEN = 0.01  # seconds from one look at the door to the next


class SharedByLocks:
    """Any number of processes, each unit claimed by one.

    Parameters
    ----------
    folder : JournalFolder
        The journal's folder, which is there.
    """

    def __init__(self, folder: JournalFolder) -> None:
        self._folder = folder
        self._own = FileLock(folder.processes / f"{os.getpid()}-{secrets.token_hex(4)}")
        self._claims: dict[str, FileLock] = {}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the door; wait for who holds it, up to a minute.

        Raises
        ------
        StorageError
            If it is held for longer: its holder was stopped.
        LocksUnsupportedError
            If the file system has no locks.
        """
        door = FileLock(self._folder.door)
        end = time.monotonic() + _PATIENCE
        while not door.acquire():
            if time.monotonic() > end:
                raise StorageError(
                    f"is kept shut by {door.holder()} for more than {_PATIENCE:.0f} seconds",
                    where=self._folder.shown,
                    fix="see whether that process was stopped, and end it",
                )
            time.sleep(_BETWEEN)
        try:
            yield
        finally:
            door.release()

    def enter(self) -> None:
        """Lock a file of this process's own."""
        self._own.acquire()

    def leave(self) -> None:
        """Free all claims and the lock of the process, and remove its file."""
        with contextlib.suppress(OSError):
            if self._own.stands():
                remove(self._own.path)
        for lock in (*self._claims.values(), self._own):
            lock.release()
        self._claims.clear()

    def stands(self) -> bool:
        """Whether this process's lock still lies in the folder: who removes the journal removes it, too."""
        return self._own.stands()

    def others(self) -> list[str]:
        """Return the processes whose locks are held; called at the door, it removes those of dead ones."""
        found = []
        for path in self._folder.process_files():
            lock = FileLock(path)
            if self._own.held and path == self._own.path:
                continue
            if lock.held_elsewhere():
                found.append(lock.holder())
            else:
                remove(path)
        return found

    def others_at_work(self) -> bool:
        """Whether the lock of a unit is held by another process."""
        files = self._folder.claim_files()
        return any(FileLock(path).held_elsewhere() for path in files if path.name not in self._claims)

    def claim(self, unit: str) -> bool:
        """Lock the file of the unit."""
        lock = self._claims.get(unit) or FileLock(self._folder.claim(unit))
        if not lock.acquire():
            return False
        self._claims[unit] = lock
        return True

    def release(self, unit: str) -> None:
        """Unlock the file of the unit."""
        lock = self._claims.pop(unit, None)
        if lock is not None:
            lock.release()

    def holds(self, unit: str) -> bool:
        """Whether a unit is claimed from here."""
        return unit in self._claims

    def claimed_by(self, unit: str) -> str | None:
        """Return who has a unit; None where it is free."""
        if unit in self._claims:
            return THIS_PROCESS
        lock = FileLock(self._folder.claim(unit))
        return lock.holder() if lock.held_elsewhere() else None
