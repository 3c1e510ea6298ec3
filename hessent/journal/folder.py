"""How the folder of a journal is laid out; it lies beside the file that is being made, as NAME.partial.

    manifest.json                               what is measured, with every setting
    settled.json                                what was chosen by timing
    door                                        lock: who opens, settles, claims or removes is alone
    owner                                       the one process, where the file system has no locks
    processes/<number>-<token>                  one lock per process that has the journal open
    claims/<unit>                               one lock per unit: who works on it
    units/<unit>                                finished blocks
    states/<unit>.a, .b                         the last two states of a block under way
    states/<unit>.<name>.<first>-<last>.rows    vectors that such states share

Only files with such names are ever removed, and nothing is reached through a link.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from hessent.errors import UsageError
from hessent.storage.failures import storage_failure
from hessent.storage.whole_file import temporary_of

SUFFIX = ".partial"
SLOTS = ("a", "b")

_TOP = re.compile(r"manifest\.json|settled\.json|owner(\.stale\.[0-9a-f]+)?")
_DOOR = "door"
_UNIT = r"[A-Za-z0-9_-]{1,32}"
_ROOMS = {
    "claims": re.compile(_UNIT),
    "processes": re.compile(r"[0-9]+-[0-9a-f]+"),
    "units": re.compile(_UNIT),
    "states": re.compile(rf"{_UNIT}\.([ab]|[A-Za-z0-9_.%~-]+\.[0-9]+-[0-9]+\.rows)"),
}


class JournalFolder:
    """The names of a journal's files.

    Parameters
    ----------
    target : Path
        The file that is being made.
    shown_as : str
        Its name as the user typed it, for messages.
    """

    def __init__(self, target: Path, shown_as: str) -> None:
        self._target = target.name
        self.path = target.with_name(target.name + SUFFIX)
        self.shown = shown_as + SUFFIX
        self.manifest = self.path / "manifest.json"
        self.settled = self.path / "settled.json"
        self.door = self.path / _DOOR
        self.owner = self.path / "owner"
        self.processes = self.path / "processes"
        self.claims = self.path / "claims"

    def claim(self, unit: str) -> Path:
        """Return the path of the lock of a unit."""
        return self.claims / require_unit(unit)

    def unit(self, unit: str) -> Path:
        """Return the path of a finished unit."""
        return self.path / "units" / require_unit(unit)

    def state(self, unit: str, slot: str) -> Path:
        """Return the path of one of the two states of a unit."""
        return self.path / "states" / f"{require_unit(unit)}.{slot}"

    def rows(self, unit: str, name: str, first: int, last: int) -> Path:
        """Return the path of the rows from `first` to before `last` of the array `name`."""
        return self.path / "states" / f"{require_unit(unit)}.{quote(name, safe='')}.{first}-{last}.rows"

    def rows_files(self, unit: str) -> list[Path]:
        """Return the row files of a unit that are there."""
        start = f"{require_unit(unit)}."
        return [path for path in self._known("states") if path.name.startswith(start) and path.suffix == ".rows"]

    def claim_files(self) -> list[Path]:
        """Return the locks of units that are there, of free ones too."""
        return sorted(self._known("claims"))

    def process_files(self) -> list[Path]:
        """Return the locks of processes that are there, of dead ones too."""
        return sorted(self._known("processes"))

    def show(self, path: Path) -> str:
        """Return a path in the folder as the user would type it."""
        return os.path.join(self.shown, os.path.relpath(path, self.path))

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the system says of a file in the folder into an error for the user.

        Raises
        ------
        StorageError
            For any OSError inside.
        """
        try:
            yield
        except OSError as error:
            raise storage_failure(self.shown, error) from error

    def make(self) -> None:
        """Make the folder, or accept the one that is there.

        Raises
        ------
        UsageError
            If something else has its name, or the folder it should lie in does not exist.
        OSError
            If it cannot be made.
        """
        with contextlib.suppress(FileExistsError):
            try:
                self.path.mkdir()
            except FileNotFoundError as error:
                if self.path.parent.is_dir():
                    raise
                parent = os.path.dirname(self.shown) or "."
                raise UsageError(
                    f"the folder '{parent}' does not exist", where=self.shown, fix=f"mkdir -p '{parent}'"
                ) from error
        self._require_folder(self.path, self.shown)

    def make_rooms(self) -> None:
        """Make the folders inside that are missing; raises as `make` does."""
        for room in _ROOMS:
            with contextlib.suppress(FileExistsError):
                (self.path / room).mkdir()
            self._require_folder(self.path / room, self.show(self.path / room))

    def _require_folder(self, path: Path, shown: str) -> None:
        mode = os.lstat(path).st_mode
        if not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "a file" if stat.S_ISREG(mode) else "not a folder"
            raise UsageError(
                f"is in the way: it is {kind}",
                where=shown,
                expected="a folder for what is finished so far, which hessent makes itself",
                fix=f"mv '{shown}' ELSEWHERE, or -o OTHER",
            )

    def holds_work(self) -> bool:
        """Whether units or states are there."""
        return any(self._known(room) for room in ("units", "states"))

    def strangers(self) -> list[str]:
        """Return the names of what lies in the folder and is none of its own; hidden files are left out."""
        found = [
            name
            for name in _names(self.path)
            if name != _DOOR and name not in _ROOMS and not _TOP.fullmatch(name) and not name.startswith(".")
        ]
        for room, pattern in _ROOMS.items():
            path = self.path / room
            if os.path.lexists(path) and not _is_folder(path):
                found.append(room)
            found += [
                f"{room}/{name}"
                for name in _names(path)
                if not pattern.fullmatch(name) and not name.startswith(".")
            ]
        return sorted(found)

    def sweep(self, unit: str | None = None) -> None:
        """Remove what killed processes left half written: of one unit, or all where nobody else is at work."""
        rooms = [self.path / room for room in _ROOMS]
        for room in rooms if unit is not None else [self.path, *rooms]:
            for name in _names(room):
                whole = temporary_of(name)
                if whole is not None and (unit is None or whole.partition(".")[0] == unit):
                    remove(room / name)

    def sweep_beside(self) -> None:
        """Remove what killed processes left half written of the target itself; while nobody else is at work."""
        for name in _names(self.path.parent):
            if temporary_of(name) == self._target:
                remove(self.path.parent / name)

    def clear(self) -> None:
        """Remove every file of the journal but its door and the mark of its owner."""
        for room in _ROOMS:
            for path in self._known(room):
                remove(path)
        self.sweep()
        for name in _names(self.path):
            if _TOP.fullmatch(name) and name != self.owner.name:
                remove(self.path / name)

    def remove(self) -> None:
        """Remove the cleared folder itself, unless something else lies in it."""
        for room in _ROOMS:
            _remove_empty(self.path / room)
        remove(self.owner)
        # From here on another process may open the door to a new journal: nothing that it has made is touched.
        remove(self.door)
        _remove_empty(self.path)

    def _known(self, room: str) -> list[Path]:
        return [self.path / room / name for name in _names(self.path / room) if _ROOMS[room].fullmatch(name)]


def require_unit(unit: str) -> str:
    """Return `unit`, or raise ValueError if it cannot be the name of one."""
    if not re.fullmatch(_UNIT, unit):
        raise ValueError(f"'{unit}' is not the name of a unit, such as '000'")
    return unit


def remove(path: Path) -> None:
    """Remove a file or a link that may be gone already; never what it leads to, never a folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        path.unlink()


def _remove_empty(folder: Path) -> None:
    if _is_folder(folder):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _names(folder: Path) -> list[str]:
    if not _is_folder(folder):
        return []
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
