"""A seal shows every change of its bytes."""

import os

import pytest

from hessent.storage.sealed_file import (
    SEAL_SIZE,
    DamagedFileError,
    Sealing,
    content_of,
    seal,
    stated_digest,
    unseal,
)


@pytest.mark.parametrize("content", [b"", b"a", os.urandom(1000), bytes(70_000)])
def test_what_is_sealed_comes_back(content):
    sealed = seal(content)
    assert unseal(sealed) == content
    assert bytes(content_of(bytearray(sealed))) == content
    assert len(sealed) == len(content) + SEAL_SIZE


def test_each_flipped_bit_shows():
    sealed = seal(b"content")
    for position in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[position] ^= 1 << bit
            with pytest.raises(DamagedFileError):
                unseal(changed)


def test_each_cut_shows_and_so_does_what_is_added():
    sealed = seal(b"content")
    changed = [sealed[:length] for length in range(len(sealed))]
    changed += [sealed + b"\0", b"\0" + sealed, sealed + sealed, sealed[:30] + sealed[-40:]]
    for other in changed:
        with pytest.raises(DamagedFileError):
            unseal(other)


def test_parts_are_sealed_as_the_whole_while_they_pass():
    parts = [b"one", bytearray(b"two"), memoryview(b"three")]
    passed = iter(parts)
    sealing = Sealing(passed)
    sealed, taken = b"", []
    for piece in sealing:
        sealed += piece
        taken.append(len(parts) - passed.__length_hint__())
    assert sealed == seal(b"onetwothree")
    assert taken == [0, 1, 2, 3, 3], "one part at a time"
    assert (sealing.size, sealing.digest) == (len(sealed), stated_digest(sealed))
