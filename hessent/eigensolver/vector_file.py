"""A temporary file that vectors are mapped from: nothing is left of it when the process ends, however it ends.

What the system keeps of it in memory is cache, which it gives up as soon as memory is wanted elsewhere.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref

from hessent.errors import ComputationError

_ZEROS = bytes(2**20)


class VectorFile:
    """A growing file without a name, mapped into memory piece by piece.

    Parameters
    ----------
    folder : str
        Where it is made.

    Raises
    ------
    ComputationError
        If no file can be made there.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._length = 0
        try:
            # Without a name, or unlinked at once where the system knows no such files.
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (lives as long as the vectors)
        except OSError as error:
            raise self._failure("no file for vectors can be made", error) from error
        weakref.finalize(self, self._file.close)  # what is mapped stays until it is let go

    def extend(self, nbytes: int) -> mmap.mmap:
        """Make the file larger and map what is new.

        The room is taken on the disk first: a full disk is an error here, not a bus error when a vector is written.

        Parameters
        ----------
        nbytes : int
            Bytes wanted; rounded up to whole pages.

        Returns
        -------
        mmap.mmap
            Zeros; the pages stay as long as it is referred to.

        Raises
        ------
        ComputationError
            If the disk is full, or the user's share of it.
        """
        nbytes = -(-nbytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        try:
            self._reserve(nbytes)
            mapped = mmap.mmap(self._file.fileno(), nbytes, offset=self._length)
        except OSError as error:
            raise self._failure(f"{nbytes / 2**30:,.2f} GiB more of vectors find no room", error) from error
        self._length += nbytes
        return mapped

    def _reserve(self, nbytes: int) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), self._length, nbytes)
            return
        self._file.seek(self._length)
        for start in range(0, nbytes, len(_ZEROS)):
            self._file.write(_ZEROS[: nbytes - start])
        self._file.flush()

    def _failure(self, found: str, error: OSError) -> ComputationError:
        return ComputationError(
            f"{found}: {error.strerror}",
            where=self._folder,
            expected="room for the vectors that do not fit in --memory",
            fix="a larger --memory, or -o FILE.spectrum.h5 in a folder on a larger disk",
        )
