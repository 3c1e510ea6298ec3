"""`SourceFile`: a regular file that data is read from, watched so that a change between passes is noticed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hessent.errors import DataError

# Compressed data that claims to grow more than this, and to a size that matters, is a bomb, not data.
_MOST_EXPANSION = 100
_FREE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class SourceFile:
    """A regular file and the marks by which it is recognised.

    Attributes
    ----------
    path : Path
        As the user typed it.
    size : int
        In bytes.
    modified_ns, inode : int
        Time of the last change in nanoseconds, and the file's number on its disk.
    """

    path: Path
    size: int
    modified_ns: int
    inode: int

    @classmethod
    def at(cls, path: Path, where: str) -> SourceFile:
        """Return the file at `path`, without opening it (opening a pipe would wait for ever).

        Raises
        ------
        DataError
            If there is none, or it is a folder, pipe or device.
        """
        try:
            found = os.stat(path)
        except (OSError, ValueError) as failure:
            reason = getattr(failure, "strerror", None) or str(failure)
            raise DataError(f"'{path}' cannot be read: {reason}", where=where, expected="a file") from failure
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise DataError(f"'{path}' is {what}", where=where, expected="a regular file")
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def open(self, where: str) -> BinaryIO:
        """Open the file for reading, after making sure that it is still the same one.

        Raises
        ------
        DataError
            If it changed or cannot be opened.
        """
        self.check_unchanged(where)
        try:
            return self.path.open("rb")
        except OSError as failure:
            raise DataError(f"'{self.path}' cannot be read: {failure.strerror}", where=where) from failure

    def check_unchanged(self, where: str) -> None:
        """Make sure that the file is what it was when it was first seen.

        Raises
        ------
        DataError
            If its size, time or identity changed: the passes over the data would not see the same samples.
        """
        if SourceFile.at(self.path, where) != self:
            raise DataError(
                f"'{self.path}' changed while it was in use",
                where=where,
                expected="data that stays the same until the computation ends",
                fix="run again when nothing writes to the file",
            )


def refuse_bomb(declared: int, stored: int, what: str, where: str) -> None:
    """Refuse compressed data that would grow beyond reason.

    Parameters
    ----------
    declared, stored : int
        Bytes once unpacked, and bytes in the file.
    what, where : str
        What is unpacked and the data's name, for the message.

    Raises
    ------
    DataError
        If more than 32 MiB would come out of less than a hundredth as much.
    """
    if declared > _FREE_BYTES and declared > _MOST_EXPANSION * stored:
        raise DataError(
            f"{what} claims {declared:,} bytes, packed into {stored:,}",
            where=where,
            expected=f"at most {_MOST_EXPANSION} times its packed size",
            fix="write the file without compression if this is real data",
        )
