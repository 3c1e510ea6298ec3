"""Reading spectrum files: from a path or from bytes to a `Spectrum`, or to a sentence that says what is wrong.

The bytes of a file are compared with their own digest first, so damage is named as such.  That is no proof of
origin, though: whoever changes a file can write its digest anew.  So every file is read in a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeVar

from hessent.errors import SpectrumFileError
from hessent.foreign.hdf5_process import UnreadableError
from hessent.foreign.hdf5_tree import read_tree
from hessent.spectra import encoding
from hessent.spectra.derived import DerivedMeasures
from hessent.spectra.hdf5_groups import read_derived, read_root
from hessent.spectra.hdf5_guard import COMPUTE_AGAIN, GuardedGroup
from hessent.spectra.model import Spectrum

Content = TypeVar("Content")

MAX_FILE_SIZE = 384 * 2**20
_PIECE = 2**20


def load(path: str | os.PathLike[str]) -> Spectrum:
    """Read the spectrum file at `path`.

    Parameters
    ----------
    path : path-like
        A file that `hessent spectrum` wrote; complete, or the snapshot of a run still going on.

    Returns
    -------
    Spectrum
        What was measured, with its provenance.

    Raises
    ------
    SpectrumFileError
        If there is no such file, it is damaged, not a spectrum file, or of a version this hessent does not read.
    """
    return _read_file(path, read_root)


def load_with_measures(path: str | os.PathLike[str]) -> tuple[Spectrum, dict[str, DerivedMeasures]]:
    """Read the spectrum file at `path`, and the measures that were derived when it was written.

    Parameters
    ----------
    path : path-like
        See `load`.

    Returns
    -------
    Spectrum
        What was measured.
    dict of str to DerivedMeasures
        By block name; empty where the file stores none.

    Raises
    ------
    SpectrumFileError
        See `load`.
    """
    return _read_file(path, lambda root: (read_root(root), read_derived(root)))


def from_bytes(content: bytes, *, where: str) -> Spectrum:
    """Read a spectrum from the content of its file.

    Parameters
    ----------
    content : bytes
        The whole file.
    where : str
        Its name, for messages.

    Raises
    ------
    SpectrumFileError
        See `load`.
    """
    return _read_bytes(content, where, read_root)


def _read_file(path: str | os.PathLike[str], read: Callable[[GuardedGroup], Content]) -> Content:
    where = os.fspath(path)
    with _opened(where) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _check_digest(file.read(encoding.PREAMBLE_SIZE), iter(lambda: file.read(_PIECE), b""), size, where)
        except OSError as error:
            raise _unreadable(error, where) from error
        return _read_image(file, size, where, read)


def _read_bytes(content: bytes, where: str, read: Callable[[GuardedGroup], Content]) -> Content:
    _check_digest(content[: encoding.PREAMBLE_SIZE], [content[encoding.PREAMBLE_SIZE :]], len(content), where)
    return _read_image(content, len(content), where, read)


def _read_image(
    source: BinaryIO | bytes, size: int, where: str, read: Callable[[GuardedGroup], Content]
) -> Content:
    """Apply `read` to the root of the file, which another process opens."""
    try:
        root = read_tree(source, size)
    except UnreadableError as error:
        raise SpectrumFileError(
            f"damaged: {error.found}" if error.damaged else error.found,
            where=where,
            problems=error.problems,
            fix=COMPUTE_AGAIN,
        ) from error
    return read(GuardedGroup(root, where=where, inside="/"))


def _opened(where: str) -> BinaryIO:
    """Open a regular file of a size that is read; a pipe or a device is never waited for."""
    # O_NONBLOCK: should the file be swapped for a FIFO after the stat, opening it must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        _refuse_kind(os.stat(where), where)
        file = os.fdopen(os.open(where, flags), "rb")
        _refuse_kind(os.fstat(file.fileno()), where)
    except FileNotFoundError as error:
        raise SpectrumFileError("no such file", where=where, fix=_what_lies_near(Path(where))) from error
    except (OSError, ValueError) as error:
        raise _unreadable(error, where) from error
    return file


def _unreadable(error: Exception, where: str) -> SpectrumFileError:
    return SpectrumFileError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=where)


def _refuse_kind(status: os.stat_result, where: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _not_a_spectrum(where, "is a directory", fix="name the .spectrum.h5 file in it")
    if not stat.S_ISREG(status.st_mode):
        raise _not_a_spectrum(where, "is not a regular file")
    if status.st_size > MAX_FILE_SIZE:
        raise _not_a_spectrum(where, f"has {status.st_size:,} bytes, more than the {MAX_FILE_SIZE:,} that are read")


def _what_lies_near(path: Path) -> str:
    if os.path.isdir(f"{path}.partial"):
        return "the command that began this run: it goes on from what was finished"
    try:
        near = sorted(path.parent.glob("*.spectrum.h5"))
    except OSError:
        near = []
    if near:
        return " or ".join(f"'{entry}'" for entry in near[:3])
    return "hessent spectrum CHECKPOINT --arch ARCH, which writes such a file"


def _check_digest(start: bytes, rest: Iterable[bytes], size: int, where: str) -> None:
    """Compare the bytes that follow the preamble with the length and digest that it states."""
    if not start:
        raise _not_a_spectrum(where, "is empty")
    if not start.startswith(encoding.PREAMBLE_START):
        raise _not_a_spectrum(where, f"begins with {start[:8]!r}, not with {encoding.PREAMBLE_START!r}")
    digest, length = hashlib.sha256(), 0
    for piece in rest:
        digest.update(piece)
        length += len(piece)
    if start != encoding.preamble_of(digest.hexdigest(), length):
        raise SpectrumFileError(
            f"damaged: its {size:,} bytes are not those that were written",
            where=where,
            expected="the length and SHA-256 that the file's first lines state",
            fix="copy it again, or " + COMPUTE_AGAIN,
        )


def _not_a_spectrum(where: str, found: str, fix: str | None = None) -> SpectrumFileError:
    if fix is None and where.endswith((".safetensors", ".pt", ".pth", ".ckpt", ".bin")):
        fix = f"hessent spectrum {where}, which measures the checkpoint and writes such a file"
    return SpectrumFileError(
        f"not a spectrum file: {found}", where=where, expected="a file written by hessent spectrum", fix=fix
    )
