"""The states of a unit under way: a ring of the last two, and the rows that they share.

A state is small arrays, saved whole each time, and names of row files.  It is written only after its rows lie on
the disk, to the slot that does not hold the newest state; so whenever the process dies, one whole state is there.
The newer of two is told by the number of the save inside the sealed bytes, never by a clock.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from hessent.journal.folder import SLOTS, JournalFolder, remove
from hessent.journal.rows_file import GrownRows, RowsFile, read_rows, write_rows
from hessent.storage.sealed_file import DamagedFileError, content_of, seal
from hessent.storage.whole_file import read_whole, write_whole

Small = dict[str, NDArray[Any]]
Grown = dict[str, list[NDArray[Any]]]

_MOST_BYTES = 1 << 30  # of the small arrays together
_CHANCE_BITS = 32  # the lower ones of a state's number


@dataclass(frozen=True)
class _Saved:
    """One state, without its rows."""

    slot: str
    number: int  # the later, the larger
    files: Mapping[str, tuple[RowsFile, ...]]  # by name of the array
    small: Small


class UnitStates:
    """The states of one unit, which nobody else writes meanwhile.

    Parameters
    ----------
    folder : JournalFolder
        Where they lie.
    unit : str
        Name of the unit.
    report : callable
        Told a sentence about each damaged file.
    """

    def __init__(self, folder: JournalFolder, unit: str, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._unit = unit
        self._report = report
        self._newest: _Saved | None = None
        self._older: _Saved | None = None
        # The rows on the disk: those of the newest state, and those of a save whose small arrays found no room.
        self._files: dict[str, tuple[RowsFile, ...]] = {}

    @property
    def number(self) -> int:
        """Number of the state that was saved or loaded last, which no other state of the unit has; 0 for none."""
        return self._newest.number if self._newest else 0

    def save(self, small: Mapping[str, NDArray[Any]], grown: Mapping[str, GrownRows]) -> None:
        """Save a state; only rows that no file holds yet are written.

        Raises
        ------
        StorageError
            If it cannot be written; the states that were there still are.
        ValueError
            If there are fewer rows of an array than were saved, or they changed their shape.
        """
        if self._newest is None:
            self.drop()  # what an earlier process left was not taken up, so its rows are not those of this state
        self._files = {name: self._files.get(name, ()) for name in grown}
        for name, rows in grown.items():
            self._write_new_rows(name, rows)
        number, used = (self._newest.number, self._newest.slot) if self._newest else (0, SLOTS[-1])
        slot = next(other for other in SLOTS if other != used)
        state = _Saved(slot, _number_after(number), dict(self._files), {})
        write_whole(self._folder.state(self._unit, slot), self._sealed(state, small), follow_link=False)
        dropped, self._older, self._newest = self._older, self._newest, state
        if dropped is not None:
            for path in self._rows_of(dropped) - self._rows_of(self._older, self._newest):
                remove(path)

    def load(self, known: int = 0) -> tuple[Small, Grown] | None:
        """Return the newest state that is whole with all its rows; remove what belongs to no state.

        Parameters
        ----------
        known : int
            Number of a state that the caller has in memory: where it is the newest, nothing more is read.

        Returns
        -------
        tuple of dict and dict, or None
            Small arrays by name, and the pieces of rows by name; None if there is no whole state, or it is known.
        """
        found = sorted(self._read_slots(), key=lambda state: state.number, reverse=True)
        self._newest = self._older = None
        if known and found and found[0].number == known:
            self._take_up(found[0], *found[1:])
            return None
        for index, state in enumerate(found):
            rows = self._read_rows_of(state)
            if rows is not None:
                self._take_up(state, *found[index + 1 :])
                self._remove_all_but(state, self._older)
                return state.small, rows
        self.drop()
        return None

    def drop(self) -> None:
        """Remove all states and rows of the unit."""
        self._newest, self._older, self._files = None, None, {}
        self._remove_all_but()

    def _take_up(self, newest: _Saved, *older: _Saved) -> None:
        self._newest, self._older, self._files = newest, next(iter(older), None), dict(newest.files)

    def _write_new_rows(self, name: str, rows: GrownRows) -> None:
        known = self._files[name]
        first = known[-1].last if known else 0
        if len(rows) < first:
            raise ValueError(f"'{name}' has {len(rows)} rows where {first} were saved: rows can only be added")
        if len(rows) > first:
            path = self._folder.rows(self._unit, name, first, len(rows))
            self._files[name] = (*known, write_rows(path, rows, first))

    def _sealed(self, state: _Saved, small: Mapping[str, NDArray[Any]]) -> bytes:
        files = {name: [astuple(file) for file in files] for name, files in state.files.items()}
        line = json.dumps({"unit": self._unit, "number": state.number, "files": files}).encode("ascii")
        arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in small.items()}
        sealed = seal(line + b"\n" + safetensors_numpy.save(arrays))
        if len(sealed) > _MOST_BYTES:
            raise ValueError(
                f"the small arrays have {len(sealed):,} bytes, more than the {_MOST_BYTES:,} that are read"
            )
        return sealed

    def _read_slots(self) -> Iterable[_Saved]:
        for slot in SLOTS:
            path = self._folder.state(self._unit, slot)
            try:
                yield self._parse(slot, content_of(read_whole(path, most=_MOST_BYTES)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except DamagedFileError as error:
                self._report(f"the state {self._folder.show(path)} is damaged: {error}")

    def _parse(self, slot: str, content: memoryview) -> _Saved:
        raw = bytes(content)
        line, _, arrays = raw.partition(b"\n")
        try:
            document = json.loads(line)
            if document["unit"] != self._unit:
                raise ValueError(f"it is the state of unit {document['unit']}")
            files = {
                name: tuple(
                    RowsFile(int(first), int(last), int(size), str(digest)) for first, last, size, digest in rows
                )
                for name, rows in document["files"].items()
            }
            small = {name: array.copy() for name, array in safetensors_numpy.load(arrays).items()}
            return _Saved(slot, int(document["number"]), files, small)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
            raise DamagedFileError(f"it is whole, but no state: {error}") from error

    def _read_rows_of(self, state: _Saved) -> Grown | None:
        grown: Grown = {}
        for name, files in state.files.items():
            grown[name] = []
            for file in files:
                path = self._path(name, file)
                try:
                    grown[name].append(read_rows(path, file))
                except DamagedFileError as error:
                    self._report(f"the rows {self._folder.show(path)} are damaged: {error}")
                    return None
        return grown

    def _path(self, name: str, file: RowsFile) -> Path:
        return self._folder.rows(self._unit, name, file.first, file.last)

    def _remove_all_but(self, *kept: _Saved | None) -> None:
        """Remove the slots and rows that belong to none of these states; slots first, for they name the rows."""
        states = [state for state in kept if state is not None]
        for slot in SLOTS:
            if slot not in [state.slot for state in states]:
                remove(self._folder.state(self._unit, slot))
        wanted = self._rows_of(*states)
        for path in self._folder.rows_files(self._unit):
            if path not in wanted:
                remove(path)

    def _rows_of(self, *states: _Saved | None) -> set[Path]:
        return {
            self._path(name, file)
            for state in states
            if state is not None
            for name, files in state.files.items()
            for file in files
        }


def _number_after(number: int) -> int:
    """Return a larger number that tells a state from those of a unit that was begun again from nothing."""
    return ((number >> _CHANCE_BITS) + 1) << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)
