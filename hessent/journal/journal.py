"""The journal of a measurement: what several processes, one after the other or side by side, do for one file.

The journal lies in a folder beside the file (`folder.py` shows what is in it).  Each process claims a unit, goes on
from the state that an earlier holder saved, and finishes it; who finds all units finished writes the file and
discards the journal.  Whenever a process dies, what it had saved is there and its units are free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from hessent.errors import StorageError
from hessent.journal.documents import NewerSchemaError, as_stored, read_document, render
from hessent.journal.folder import JournalFolder, remove
from hessent.journal.opening import enter
from hessent.journal.presence import THIS_PROCESS, Presence
from hessent.journal.rows_file import GrownRows
from hessent.journal.states import Grown, Small, UnitStates
from hessent.journal.unit_file import read_unit, write_unit
from hessent.spectra.model import BlockSpectrum
from hessent.storage.sealed_file import DamagedFileError
from hessent.storage.whole_file import write_first

_ENTRIES = 20  # how often others may remove the folder while it is being opened


class JournalGoneError(StorageError):
    """The folder of the journal was removed: another process has finished the file, or somebody meddled."""


class Journal:
    """A journal that is open; `Journal.open` makes one.

    Parameters
    ----------
    folder : JournalFolder
        Where it lies.
    presence : Presence
        How this process is present in it.

    Attributes
    ----------
    damaged : list of str
        A sentence for each file that was found damaged; each costs what that file held, and no more.
    """

    def __init__(self, folder: JournalFolder, presence: Presence) -> None:
        self._folder = folder
        self._presence = presence
        self._states: dict[str, UnitStates] = {}
        self.damaged: list[str] = []

    @classmethod
    def open(cls, target: Path, identity: Mapping[str, Any], *, force: bool = False, shown_as: str) -> Journal:
        """Begin the journal of the file `target`, or go on with the one that is there.

        Parameters
        ----------
        target : Path
            The file that is being made.
        identity : mapping
            Everything that can change a number of it; JSON.
        force : bool
            Discard what is there.
        shown_as : str
            The file as the user typed it, for messages.

        Returns
        -------
        Journal
            Holds a lock until `close` or `discard`.

        Raises
        ------
        UsageError
            If the journal that is there is of another measurement, damaged, or made by another hessent; if
            something else is in its place; if it is to be discarded while others are at work in it.
        StorageError
            If the folder cannot be written.
        """
        folder = JournalFolder(target, shown_as)
        with folder.failures():
            for _ in range(_ENTRIES):
                # Who has finished may remove the folder between any two steps of ours: then we begin anew.
                with contextlib.suppress(FileNotFoundError):
                    return cls(folder, enter(folder, as_stored(identity), force=force))
        raise StorageError("is removed again and again by other processes", where=folder.shown)

    @staticmethod
    def read_settled(target: Path) -> dict[str, Any] | None:
        """Return what was settled in the journal of `target`, opened or not; None where nothing whole is there."""
        try:
            return read_document(JournalFolder(target, str(target)).settled)
        except (DamagedFileError, NewerSchemaError, OSError):
            return None

    def settle(self, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Write down what was chosen by timing, unless it is written already.

        Parameters
        ----------
        choices : mapping
            This process's choices; JSON.

        Returns
        -------
        dict
            Those of the process that was first.

        Raises
        ------
        StorageError
            If they cannot be written.
        """
        with self._alone():
            try:
                standing = read_document(self._folder.settled)
            except (DamagedFileError, NewerSchemaError) as error:
                self._report(f"the choices {self._folder.show(self._folder.settled)} are damaged: {error}")
                remove(self._folder.settled)
                standing = None
            if standing is None and not write_first(self._folder.settled, render(choices)):
                standing = read_document(self._folder.settled)
            return as_stored(choices) if standing is None else standing

    @property
    def gone(self) -> bool:
        """Whether the folder was removed: another process found everything finished and wrote the file."""
        return not self._presence.stands()

    @property
    def shown(self) -> str:
        """The folder, as the user would type it."""
        return self._folder.shown

    @property
    def holds_work(self) -> bool:
        """Whether anything was saved that the measurement can go on from."""
        return self._folder.holds_work()

    def claim(self, unit: str) -> bool:
        """Take a unit to work on, unless it is finished or another process works on it.

        Parameters
        ----------
        unit : str
            Name of the unit.

        Returns
        -------
        bool
            Whether the unit is now this journal's.

        Raises
        ------
        JournalGoneError
            If the folder is `gone`.
        StorageError
            If the claim cannot be written.
        """
        if self._is_finished(unit) or self.claimed_by(unit) not in (None, THIS_PROCESS):
            return False
        with self._alone():
            # It may have been finished since we looked.
            if self._is_finished(unit) or not self._presence.claim(unit):
                return False
            self._folder.sweep(unit)
            return True

    def release(self, unit: str) -> None:
        """Let a unit go; what was saved of it stays for the next."""
        self._states.pop(unit, None)
        self._presence.release(unit)

    def claimed_by(self, unit: str) -> str | None:
        """Return who works on a unit, for messages; None where nobody does."""
        with self._folder.failures():
            return self._presence.claimed_by(unit)

    def save_state(self, unit: str, small: Mapping[str, NDArray[Any]], grown: Mapping[str, GrownRows]) -> None:
        """Save how far a claimed unit has come.

        Parameters
        ----------
        unit : str
            Name of the unit.
        small : mapping of str to array
            Written whole.
        grown : mapping of str to GrownRows
            Of which only the rows are written that no earlier save wrote.

        Raises
        ------
        StorageError
            If it cannot be written; the state that was saved before is still there.
        ValueError
            If an array of `grown` has fewer rows than were saved.
        """
        states = self._states_of(unit)
        self._require_standing()
        with self._folder.failures():
            states.save(small, grown)

    def load_state(self, unit: str, *, known: int = 0) -> tuple[Small, Grown] | None:
        """Return the newest whole state of a claimed unit; to be called before the first save after each claim.

        Parameters
        ----------
        unit : str
            Name of the unit.
        known : int
            The `state_number` of a state that the caller has in memory: where no other was saved since, its rows
            are not read again.

        Returns
        -------
        tuple of dict and dict, or None
            Small arrays by name, and the pieces of rows (r, ...) by name; None where nothing whole was saved, or
            the newest state is known.

        Raises
        ------
        StorageError
            If a file is there and cannot be read for lack of permission.
        """
        with self._folder.failures():
            return self._states_of(unit).load(known)

    def state_number(self, unit: str) -> int:
        """Return the number, unique for the unit, of the state that was loaded or saved last; 0 for none."""
        return self._states_of(unit).number

    def drop_state(self, unit: str) -> None:
        """Remove what was saved of a claimed unit."""
        with self._folder.failures():
            self._states_of(unit).drop()

    def finish(self, unit: str, block: BlockSpectrum) -> None:
        """Keep the finished block of a claimed unit and remove its states; the claim stays.

        Raises
        ------
        StorageError
            If it cannot be written; its states are then still there.
        ValueError
            If the block holds what a spectrum file cannot hold.
        """
        states = self._states_of(unit)
        self._require_standing()
        with self._folder.failures():
            write_unit(self._folder.unit(unit), unit, block)
            states.drop()

    def finished(self, unit: str) -> BlockSpectrum | None:
        """Return the block of a unit; None if it is not finished, or damaged (then its file is removed).

        Raises
        ------
        JournalGoneError
            If the folder is `gone`: who waits for the unit finds it in the finished file.
        StorageError
            If the file is there and cannot be read for lack of permission.
        """
        with self._folder.failures():
            try:
                found = read_unit(self._folder.unit(unit), unit)
            except DamagedFileError:
                found = self._read_or_remove(unit)
        if found is None:
            self._require_standing()
        return found

    def discard(self) -> list[str]:
        """Remove the journal, unless another process has done so, or works on a unit and so will do so later.

        Returns
        -------
        list of str
            Names in the folder that are not the journal's, for which the folder had to stay.

        Raises
        ------
        StorageError
            If a file cannot be removed.
        """
        strangers: list[str] = []
        try:
            with self._folder.failures(), contextlib.suppress(FileNotFoundError), self._presence.alone():
                if self._presence.stands() and not self._presence.others_at_work():
                    if not self._presence.others():
                        self._folder.sweep_beside()
                    strangers = self._folder.strangers()
                    self._folder.clear()
                    self._folder.remove()
        finally:
            self.close()
        return strangers

    def close(self) -> None:
        """Free all that is held; what was saved stays."""
        self._states.clear()
        self._presence.leave()

    def __enter__(self) -> Self:
        """Return the journal, to be closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal."""
        self.close()

    def _report(self, sentence: str) -> None:
        if sentence not in self.damaged:
            self.damaged.append(sentence)

    def _is_finished(self, unit: str) -> bool:
        return self._folder.unit(unit).exists()

    def _states_of(self, unit: str) -> UnitStates:
        if not self._presence.holds(unit):
            raise RuntimeError(f"unit {unit} is not claimed: another process may be writing its files")
        return self._states.setdefault(unit, UnitStates(self._folder, unit, self._report))

    def _require_standing(self) -> None:
        if not self._presence.stands():
            raise JournalGoneError(
                "was removed while this process was at work in it",
                where=self._folder.shown,
                fix="run the same command again",
            )

    def _read_or_remove(self, unit: str) -> BlockSpectrum | None:
        """Look again at a damaged unit while nobody can replace it, and remove it if it still is."""
        with self._alone():
            if not self._presence.holds(unit) and self._presence.claimed_by(unit) is not None:
                return None  # its holder is about to replace it
            try:
                return read_unit(self._folder.unit(unit), unit)
            except DamagedFileError as error:
                path = self._folder.unit(unit)
                self._report(f"the finished unit {self._folder.show(path)} is damaged: {error}")
                remove(path)
                return None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._folder.failures():
            try:
                with self._presence.alone():
                    self._require_standing()
                    yield
            except FileNotFoundError:
                self._require_standing()
                raise
