"""Who is at work in a journal: processes that share it by locks, or a single one where there are no locks.

A lock is freed by the kernel when its process dies, however it dies, so the units of a killed process are free at
once.  Some network file systems have no locks: there one process has the journal to itself, by a file that only one
can make.  Such a file outlives its process; that of a dead process of this machine is recognised and replaced, that
of another machine is not touched.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from hessent.errors import StorageError, UsageError
from hessent.journal.folder import JournalFolder, remove
from hessent.storage.file_lock import FileLock
from hessent.storage.process_mark import ProcessMark
from hessent.storage.sealed_file import DamagedFileError
from hessent.storage.whole_file import read_whole, write_first

THIS_PROCESS = "this process"  # who holds a claim, where it is us

_PATIENCE = 60.0  # seconds that another process may take to open, settle or remove
_BETWEEN = 0.01  # seconds from one look at the door to the next
_LONGEST_MARK = 4096


class Presence(Protocol):
    """How a process is present in a journal."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep all others from opening, settling, claiming and removing meanwhile."""

    def enter(self) -> None:
        """Be seen by the others from now on."""

    def leave(self) -> None:
        """Free everything that is held."""

    def stands(self) -> bool:
        """Whether the journal that was entered is still the one in the folder."""

    def others(self) -> list[str]:
        """Return the other processes that have the journal open, for messages."""

    def others_at_work(self) -> bool:
        """Whether another process has a unit."""

    def claim(self, unit: str) -> bool:
        """Take a unit if nobody else has it."""

    def release(self, unit: str) -> None:
        """Let a unit go."""

    def holds(self, unit: str) -> bool:
        """Whether a unit is claimed from here."""

    def claimed_by(self, unit: str) -> str | None:
        """Return who has a unit, for messages; None where it is free."""


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


class OwnedAlone:
    """One process, where the file system has no locks.

    Parameters
    ----------
    folder : JournalFolder
        The journal's folder, which is there.

    Raises
    ------
    UsageError
        If another process has it, or one of another machine may still run.
    """

    def __init__(self, folder: JournalFolder) -> None:
        self._folder = folder
        self._claims: set[str] = set()
        self._mark = ProcessMark.own().to_bytes()
        for _ in range(2):  # once more after a dead owner was put aside
            if write_first(folder.owner, self._mark):
                return
            self._put_aside_dead_owner(folder.owner)
        raise self._in_use("another process took it at the same moment")

    def _put_aside_dead_owner(self, path: Path) -> None:
        try:
            found = bytes(read_whole(path, most=_LONGEST_MARK))
            owner = ProcessMark.from_bytes(found)
        except FileNotFoundError:
            return
        except (DamagedFileError, ValueError) as error:
            raise self._in_use("its owner's mark cannot be read") from error
        runs = owner.runs()
        if runs is None:
            raise self._in_use(f"{owner.describe()} began it, and whether that still runs cannot be seen from here")
        if runs:
            raise self._in_use(f"{owner.describe()} is at work in it")
        aside = path.with_name(f"{path.name}.stale.{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, aside)  # one of several that try it succeeds
            if bytes(read_whole(aside, most=_LONGEST_MARK)) != found:
                os.rename(aside, path)  # a new owner came first: it is given back its mark
            else:
                remove(aside)

    def _in_use(self, why: str) -> UsageError:
        return UsageError(
            f"can be used by one process only, for its file system has no locks: {why}",
            where=self._folder.shown,
            fix=f"wait for it; or, if nothing uses it, rm '{self._folder.show(self._folder.owner)}'",
        )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing to do: there are no others."""
        yield

    def enter(self) -> None:
        """Nothing to do: the owner's mark is there."""

    def leave(self) -> None:
        """Remove the owner's mark."""
        self._claims.clear()
        if self.stands():
            remove(self._folder.owner)

    def stands(self) -> bool:
        """Whether the owner's mark is this process's."""
        try:
            return bytes(read_whole(self._folder.owner, most=_LONGEST_MARK)) == self._mark
        except (OSError, DamagedFileError):
            return False

    def others(self) -> list[str]:
        """There are none."""
        return []

    def others_at_work(self) -> bool:
        """There are no others."""
        return False

    def claim(self, unit: str) -> bool:
        """Take note of the unit."""
        self._claims.add(unit)
        return True

    def release(self, unit: str) -> None:
        """Let the unit go."""
        self._claims.discard(unit)

    def holds(self, unit: str) -> bool:
        """Whether the unit was claimed."""
        return unit in self._claims

    def claimed_by(self, unit: str) -> str | None:
        """Return "this process" for a claimed unit."""
        return THIS_PROCESS if unit in self._claims else None
