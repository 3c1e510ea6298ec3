"""One process at work in a journal, where the file system (some network file systems) has no locks.

It makes a file that only one process can make, and that outlives it.  The file of a dead process of this machine is
recognised and replaced; that of another machine is not touched, for nobody here can know whether its maker lives.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from hessent.errors import UsageError
from hessent.journal.folder import JournalFolder, remove
from hessent.journal.presence import THIS_PROCESS
from hessent.storage.process_mark import ProcessMark
from hessent.storage.sealed_file import DamagedFileError
from hessent.storage.whole_file import read_whole, write_first

_LONGEST_MARK = 4096  # bytes


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
