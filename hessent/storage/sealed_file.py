"""Bytes that show by themselves whether they are whole: a mark before them, their length and SHA-256 behind them.

The seal finds damage (a flipped bit, a file cut short, two files mixed up), not malice: whoever can write the file
can seal it again.  The length and the digest stand at the end, so that content which is never in memory as a whole
can be sealed while it is written.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator

Part = bytes | bytearray | memoryview

MARK = b"hessent sealed 1"  # 16 bytes: what follows stays aligned
_ENDING = struct.Struct("<Q32s")
SEAL_SIZE = len(MARK) + _ENDING.size


class DamagedFileError(ValueError):
    """The bytes of a file are not those that were written; says how it was noticed, as a clause."""


class Sealing:
    """The parts of a sealed file, made while they are iterated over (once).

    Parameters
    ----------
    parts : iterable of bytes-like
        The content, in order; only one part is held at a time.

    Attributes
    ----------
    size : int
        Bytes of the sealed file so far; all of them once the iteration has ended.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = parts
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the content so far, in hexadecimal."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Part]:
        """Yield the mark, the content and the ending."""
        yield MARK
        length = 0
        for part in self._parts:
            self._hash.update(part)
            length += memoryview(part).nbytes
            yield part
        self.size = length + SEAL_SIZE
        yield _ENDING.pack(length, self._hash.digest())


def seal(content: Part) -> bytes:
    """Return `content` sealed."""
    return b"".join(Sealing((content,)))


def unseal(sealed: Part) -> bytes:
    """Return a copy of the content of sealed bytes.

    Raises
    ------
    DamagedFileError
        If a single bit is not as it was written.
    """
    return bytes(content_of(sealed))


def content_of(sealed: Part) -> memoryview:
    """Return the content of sealed bytes where it lies, without a copy.

    Raises
    ------
    DamagedFileError
        If a single bit is not as it was written.
    """
    view = memoryview(sealed).cast("B")
    if len(view) < SEAL_SIZE:
        raise DamagedFileError(f"it breaks off after {len(view):,} bytes")
    if view[: len(MARK)] != MARK:
        raise DamagedFileError(f"it begins with {bytes(view[: len(MARK)])!r}, not with {MARK!r}")
    length, digest = _ENDING.unpack(view[-_ENDING.size :])
    content = view[len(MARK) : -_ENDING.size]
    if length != len(content):
        raise DamagedFileError(f"it holds {len(content):,} bytes of content where its end states {length:,}")
    if hashlib.sha256(content).digest() != digest:
        raise DamagedFileError("its bytes do not have the SHA-256 that its end states")
    return content


def stated_digest(sealed: Part) -> str:
    """Return the SHA-256 that the end of sealed bytes states, in hexadecimal."""
    digest: bytes = _ENDING.unpack(memoryview(sealed)[-_ENDING.size :])[1]
    return digest.hex()
