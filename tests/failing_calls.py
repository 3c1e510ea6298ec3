"""Making one call to the system fail, the first, the second, …: every place where a disk can be full in turn."""

from __future__ import annotations

import errno
import os

CALLS = ("open", "write", "fsync", "replace", "link", "mkdir")
CODES = (errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT)
WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EACCES: "no permission",
    errno.EIO: "Input/output error",
    errno.EDQUOT: "your share of the disk is used up",
}


class FailingCalls:
    """Lets the call number `index` (from 0) after `begin` fail with `code`; says afterwards which one that was."""

    def __init__(self, monkeypatch, index, code, calls=CALLS):
        self.index, self.code, self.left, self.failed = index, code, None, None
        for name in calls:
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, call):
        def counted(*words, **options):
            if self.left is not None:
                self.left -= 1
                if self.left == -1:
                    self.failed = name
                    raise OSError(self.code, os.strerror(self.code))
            return call(*words, **options)

        return counted

    def begin(self):
        self.left = self.index

    def end(self):
        self.left = None


def each_call(monkeypatch, code, act, calls=CALLS):
    """Call `act(failing)` so that the first call fails, then the second, … until none does; yield each."""
    for index in range(200):
        with monkeypatch.context() as patch:
            failing = FailingCalls(patch, index, code, calls)
            act(failing)
        if failing.failed is None:
            return
        yield failing
    raise AssertionError("so many calls cannot be right")
