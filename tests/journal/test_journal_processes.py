"""Processes share a journal or follow each other, killed at any moment: no unit twice, nothing saved is lost."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sample_spectra
from small_states import opened

from hessent.errors import StorageError, UsageError
from hessent.journal import shared_by_locks
from hessent.storage.file_lock import FileLock
from hessent.storage.process_mark import ProcessMark

SCRIPT = Path(__file__).with_name("journal_processes.py")
BLOCK = sample_spectra.exact_block(size=16)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "a.spectrum.h5"


def run(*words):
    shared = os.pathsep.join([str(SCRIPT.parent), str(SCRIPT.parents[1])])
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONPATH=shared)
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def check_kills(target, count, seed):
    found, errors = run("kills", target, count, seed)
    assert found["wrong"] == []
    assert errors == ""
    assert found["saved"] > 0


def test_kills_at_random_moments_lose_nothing_that_was_saved(target):
    check_kills(target, 30, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_hundreds_of_kills_lose_nothing_that_was_saved(target, seed):
    check_kills(target, 100, seed)


def test_three_processes_claim_each_unit_once(target):
    found, errors = run("share", target)
    assert found["well"], errors
    assert sorted(found["claimed"]) == [f"{index:03d}" for index in range(20)]
    assert os.listdir(target.parent) == [target.name]


def test_all_processes_settle_the_same(target):
    for told in run("settle", target)[0]["rounds"]:
        assert len(told) == 6
        assert len({answer for lines in told for line in lines for answer in line}) == 1


def test_beginning_and_discarding_at_once_ends_in_order(target):
    found, errors = run("churn", target)
    assert found["well"], errors
    assert errors == ""
    assert found["claimed"] > 0
    assert os.listdir(target.parent) == []


HOLD = """
import sys
import threading
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from small_states import opened
journal = opened(Path(sys.argv[1]))
print([journal.claim(unit) for unit in ("000", "001")], flush=True)
sys.stdin.read()
"""


def test_the_units_of_a_killed_process_are_free_at_once(target):
    command = [sys.executable, "-c", HOLD, target, SCRIPT.parent, SCRIPT.parents[1]]
    with (
        opened(target) as journal,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdout.readline() == "[True, True]\n"
        assert not journal.claim("000")
        assert f"process {other.pid} on " in journal.claimed_by("000")
        assert journal.claimed_by("002") is None
        with pytest.raises(UsageError, match=f"process {other.pid} on "):
            opened(target, {"seed": 9}, force=True)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert journal.claimed_by("000") is None
        assert journal.claim("000")
        assert journal.claim("001")
    opened(target, {"seed": 9}, force=True).close()


def test_a_unit_that_was_finished_meanwhile_is_not_claimed(target):
    with opened(target) as journal, opened(target) as other:
        assert journal.claim("000")
        assert journal.claim("000"), "it is its own already"
        assert not other.claim("000")
        journal.release("000")
        assert other.claim("000")
        other.finish("000", BLOCK)
        other.release("000")
        assert not journal.claim("000")
        assert journal.finished("000") is not None


def test_a_unit_that_is_finished_while_it_is_being_claimed_is_not_claimed(target, monkeypatch):
    with opened(target) as journal, opened(target) as other:
        other.claim("000")

        def finished_meanwhile(unit):
            other.finish(unit, BLOCK)
            other.release(unit)

        monkeypatch.setattr(journal, "claimed_by", finished_meanwhile)
        assert not journal.claim("000")
        other.claim("001")
        monkeypatch.setattr(journal, "claimed_by", lambda unit: None)
        assert not journal.claim("001"), "it was claimed since the look"


def test_one_process_at_a_time_is_at_the_door(target, monkeypatch):
    with opened(target) as journal:
        door = FileLock(target.parent / "a.spectrum.h5.partial" / "door")
        assert door.acquire()
        monkeypatch.setattr(shared_by_locks, "_PATIENCE", 0.05)
        for act in (
            lambda: opened(target),
            lambda: journal.claim("000"),
            lambda: journal.settle({}),
            journal.discard,
        ):
            with pytest.raises(StorageError, match=f"kept shut by process {os.getpid()} on "):
                act()
    monkeypatch.setattr(shared_by_locks, "_PATIENCE", 60.0)
    timer = threading.Timer(0.1, door.release)
    timer.start()
    opened(target).close()
    timer.join()


@pytest.fixture
def no_locks(monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_one_process_has_the_journal_to_itself(target, no_locks):
    owner = target.parent / "a.spectrum.h5.partial" / "owner"
    with opened(target) as journal:
        assert journal.claim("000")
        journal.finish("000", BLOCK)
        assert journal.claimed_by("000") == "this process"
        with pytest.raises(
            UsageError, match=rf"no locks: process {os.getpid()} on (.|\n)*rm 'a\.spectrum\.h5\.partial/owner'"
        ):
            opened(target)
        assert not journal.gone
    assert not owner.exists()
    with opened(target) as journal:
        assert journal.finished("000") is not None
        assert journal.settle({"a": 1}) == {"a": 1}
        assert journal.discard() == []
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pid": 2**22 + 1}, None),
        ({"start": "1"}, None),
        ({"system": "earlier pid:[1]"}, None),
        ({"host": "elsewhere"}, "process [0-9]+ on elsewhere"),
        (None, "its owner's mark cannot be read"),
    ],
)
def test_without_locks_a_dead_owner_is_recognised_and_an_unknown_one_is_not_touched(
    target, no_locks, changes, words
):
    opened(target).close()
    owner = target.parent / "a.spectrum.h5.partial" / "owner"
    mark = vars(ProcessMark.own()) | (changes or {})
    content = b"?" if changes is None else ProcessMark(**mark).to_bytes()
    owner.write_bytes(content)
    if words is None:
        with opened(target) as journal:
            assert journal.discard() == []
        assert os.listdir(target.parent) == []
    else:
        with pytest.raises(UsageError, match=words):
            opened(target)
        assert owner.read_bytes() == content
