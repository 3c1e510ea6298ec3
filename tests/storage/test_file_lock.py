"""A lock keeps others out as long as its holder lives, and not a moment longer."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from hessent.storage.file_lock import FileLock, LocksUnsupportedError

HOLD = """
import sys
from hessent.storage.file_lock import FileLock
lock = FileLock(sys.argv[1])
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


def test_one_holds_it_and_the_next_gets_it_when_it_is_let_go(path):
    one, other = FileLock(path), FileLock(path)
    assert one.acquire()
    assert one.acquire(), "it is held already"
    assert not other.acquire()
    assert (one.held_elsewhere(), other.held_elsewhere()) == (False, True)
    assert other.holder().startswith(f"process {os.getpid()} on ")
    one.release()
    one.release()
    assert not other.held_elsewhere()
    assert other.acquire()
    assert not one.acquire()


def test_a_killed_process_holds_nothing(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"True\n"
        lock = FileLock(path)
        assert not lock.acquire()
        assert f"process {holder.pid} on " in lock.holder()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert lock.acquire()


def test_a_lock_on_a_file_that_was_removed_keeps_nobody_out_and_says_so(path):
    one, other = FileLock(path), FileLock(path)
    assert one.acquire()
    assert one.stands()
    path.unlink()
    assert not one.stands()
    assert other.acquire()
    assert other.stands()


def test_a_file_removed_between_opening_and_locking_is_made_again(path, monkeypatch):
    flock = fcntl.flock
    removed = []

    def flock_too_late(descriptor, operation):
        if not removed:
            removed.append(path.unlink())
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_too_late)
    lock = FileLock(path)
    assert lock.acquire()
    assert removed
    assert lock.stands()


def test_a_lock_that_is_forgotten_is_free(path):
    def forget():
        assert FileLock(path).acquire()

    forget()
    assert FileLock(path).acquire()


def test_the_end_of_a_forked_child_frees_nothing(path):
    script = (
        "import os, sys; from hessent.storage.file_lock import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire()\n"
        "child = os.fork()\n"
        "if not child:\n    lock.release(); os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "sys.exit(FileLock(sys.argv[1]).acquire())\n"
    )
    assert subprocess.run([sys.executable, "-c", script, path]).returncode == 0


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_apart(path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LocksUnsupportedError):
        FileLock(path).acquire()


def test_a_link_is_not_locked_and_what_it_leads_to_is_not_written(tmp_path, path):
    (tmp_path / "real").write_text("mine")
    path.symlink_to("real")
    with pytest.raises(OSError):
        FileLock(path).acquire()
    assert (tmp_path / "real").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\0", b"[" * 5000])
def test_a_mark_that_cannot_be_read_is_another_process(path, content):
    path.write_bytes(content)
    assert FileLock(path).holder() == "another process"
