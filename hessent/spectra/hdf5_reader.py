"""Reading spectrum files: from a path or from bytes to a `Spectrum`, or to a sentence that says what is wrong.

The bytes of a file are compared with their own digest first: damage never reaches the HDF5 library, which mutated
files can hang or crash.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import h5py

from hessent.errors import SpectrumFileError
from hessent.spectra import encoding
from hessent.spectra.derived import DerivedMeasures
from hessent.spectra.hdf5_groups import read_derived, read_root
from hessent.spectra.hdf5_guard import COMPUTE_AGAIN, GuardedGroup
from hessent.spectra.hdf5_storage import MAX_DECLARED_BYTES, Budget
from hessent.spectra.model import Spectrum

Content = TypeVar("Content")

MAX_FILE_SIZE = 1 << 30

# What h5py raises on an image that is sealed with a valid digest and damaged all the same.
_LIBRARY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


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
    return _read_bytes(_read_whole(Path(path), where), where, read)


def _read_bytes(content: bytes, where: str, read: Callable[[GuardedGroup], Content]) -> Content:
    """Apply `read` to the root of the file, once its digest has been checked."""
    _check_digest(content, where)
    try:
        with h5py.File(h5py.h5f.open_file_image(content)) as file:
            return read(GuardedGroup(file["/"], where=where, inside="/", budget=Budget(MAX_DECLARED_BYTES)))
    except _LIBRARY_ERRORS as error:
        raise SpectrumFileError(
            f"damaged: the HDF5 library cannot read it ({error})", where=where, fix=COMPUTE_AGAIN
        ) from error


def _read_whole(path: Path, where: str) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _not_a_spectrum(where, "is a directory", fix="name the .spectrum.h5 file in it")
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_spectrum(where, "is not a regular file")
        if status.st_size > MAX_FILE_SIZE:
            raise _not_a_spectrum(
                where, f"has {status.st_size:,} bytes, more than the {MAX_FILE_SIZE:,} that are read"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SpectrumFileError("no such file", where=where, fix=_what_lies_near(path)) from error
    except (OSError, ValueError) as error:
        raise SpectrumFileError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}", where=where
        ) from error


def _what_lies_near(path: Path) -> str:
    if path.with_name(path.name + ".partial").is_dir():
        return "the command that began this run: it goes on from what was finished"
    try:
        near = sorted(path.parent.glob("*.spectrum.h5"))
    except OSError:
        near = []
    if near:
        return " or ".join(f"'{entry}'" for entry in near[:3])
    return "hessent spectrum CHECKPOINT --arch ARCH, which writes such a file"


def _check_digest(content: bytes, where: str) -> None:
    """Compare the bytes with the length and digest that the file's preamble states."""
    if not content:
        raise _not_a_spectrum(where, "is empty")
    if not content.startswith(encoding.PREAMBLE_START):
        raise _not_a_spectrum(where, f"begins with {content[:8]!r}, not with {encoding.PREAMBLE_START!r}")
    if content[: encoding.PREAMBLE_SIZE] != encoding.preamble(content[encoding.PREAMBLE_SIZE :]):
        raise SpectrumFileError(
            f"damaged: its {len(content):,} bytes are not those that were written",
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
