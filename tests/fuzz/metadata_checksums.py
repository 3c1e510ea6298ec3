"""The checksums that HDF5 keeps beside its object headers, so that damage below them can be looked at.

Layout of a version 2 object header: "OHDR", version, flags, times (16 bytes, if flag 5), limits (4 bytes, if
flag 4), length of the messages (1, 2, 4 or 8 bytes by the two lowest flags), the messages, and the checksum (4
bytes), which is Bob Jenkins' lookup3 with the start value 0.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF


def lookup3(content: bytes) -> int:
    """Return the checksum of some bytes."""
    a = b = c = (0xDEADBEEF + len(content)) & _MASK
    position = 0
    while len(content) - position > 12:
        a, b, c = _mix(*_added(a, b, c, content[position : position + 12]))
        position += 12
    if position == len(content):
        return c
    return _final(*_added(a, b, c, content[position:].ljust(12, b"\0")))


def _added(a: int, b: int, c: int, twelve: bytes) -> tuple[int, int, int]:
    first, second, third = (int.from_bytes(twelve[index : index + 4], "little") for index in (0, 4, 8))
    return (a + first) & _MASK, (b + second) & _MASK, (c + third) & _MASK


def _turned(number: int, bits: int) -> int:
    return ((number << bits) | (number >> (32 - bits))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _turned(c, bits)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, bits)) & _MASK
        a, b, c = b, c, a
    return b


def set_checksums_right(changed: bytearray, original: bytes) -> None:
    """Recompute the checksums of the object headers in which two images of one length differ."""
    start = original.find(b"OHDR")
    while start >= 0:
        end = _end_of_messages(changed, start)
        if end + 4 <= len(changed) and changed[start : end + 4] != original[start : end + 4]:
            changed[end : end + 4] = lookup3(bytes(changed[start:end])).to_bytes(4, "little")
        start = original.find(b"OHDR", start + 1)


def _end_of_messages(image: bytes | bytearray, start: int) -> int:
    flags = image[start + 5]
    position = start + 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
    width = 1 << (flags & 3)
    return position + width + int.from_bytes(image[position : position + width], "little")
