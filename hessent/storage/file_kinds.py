"""Which files hold weights, data or a spectrum: told by their first bytes, else by their name."""

from __future__ import annotations

import os
from enum import StrEnum

# Endings of the names of weights; longer ones stand before those that they end in.
WEIGHT_SUFFIXES = (".safetensors.index.json", ".safetensors", ".pth.tar", ".pt", ".pth", ".bin", ".ckpt")
_SPECTRUM = b"hessent spectrum file\n"  # as in hessent.spectra.encoding, which needs numpy
_NUMBER = 8  # bytes of the length that a safetensors file begins with
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_NUMPY = b"\x93NUMPY"
_PICKLE, _PROTOCOLS = 0x80, range(2, 6)
_SPECTRUM_NAME = ".spectrum.h5"


class FileKind(StrEnum):
    """What took long to compute and must not be lost by a slip; the value says it in a sentence."""

    SPECTRUM = "a spectrum file"
    SAFETENSORS = "a safetensors file"
    TORCH = "a PyTorch checkpoint or another archive"
    NUMPY = "a file of NumPy arrays"
    HDF5 = "an HDF5 file that is no spectrum of ours"
    NAMED_AS_WEIGHTS = "a checkpoint, by its name"


def kind_of_file(path: str) -> FileKind | None:
    """Return what a file is, if it is one of those that must not be lost.

    Parameters
    ----------
    path : str
        It need not exist.

    Returns
    -------
    FileKind or None
        None too where there is no such file, or an empty one.
    """
    try:
        size = os.path.getsize(path)
        if not size or not os.path.isfile(path):
            return None
    except OSError:
        return None
    start = _start(path)
    if start == _SPECTRUM or path.endswith(_SPECTRUM_NAME):
        return FileKind.SPECTRUM
    known = _by_content(start, size)
    if known is None and os.path.realpath(path).endswith(WEIGHT_SUFFIXES):
        return FileKind.NAMED_AS_WEIGHTS
    return known


def _start(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(len(_SPECTRUM))
    except OSError:  # then the name has to do
        return b""


def _by_content(start: bytes, size: int) -> FileKind | None:
    if start.startswith(_HDF5):
        return FileKind.HDF5
    if start.startswith(_NUMPY):
        return FileKind.NUMPY
    if start.startswith(_ZIP) or (start[:1] == bytes([_PICKLE]) and start[1:2] and start[1] in _PROTOCOLS):
        return FileKind.TORCH
    length = int.from_bytes(start[:_NUMBER], "little")  # of text, these are more bytes than any file has
    if start[_NUMBER : _NUMBER + 1] == b"{" and length <= size - _NUMBER:
        return FileKind.SAFETENSORS
    return None
