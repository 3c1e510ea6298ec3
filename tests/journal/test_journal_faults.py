"""Whatever call to the system fails and however: what was saved is there, and the error says what to do."""

import errno
import os
import random
import shutil
import time
import weakref

import numpy as np
import pytest
import sample_spectra
from failing_calls import WORDS, FailingCalls, each_call
from small_states import Rows, joined, number_of, opened, small

from hessent.errors import StorageError, UsageError
from hessent.storage.whole_file import temporary_of

BLOCK = sample_spectra.joint_block()
STATES = {1: 4, 2: 6, 3: 9}  # rows by number of the save


@pytest.fixture
def target(tmp_path):
    return tmp_path / "a.spectrum.h5"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a.spectrum.h5.partial"


def save(journal, number):
    journal.save_state("000", small(number), {"vectors": Rows(STATES[number])})


def is_saved(state, number):
    expected = np.concatenate(list(Rows(STATES[number]).rows_from(0)))
    return number_of(state) == number and np.array_equal(joined(state), expected)


def names(folder):
    return {
        os.path.relpath(os.path.join(root, name), folder) for root, _, files in os.walk(folder) for name in files
    }


def strays(folder):
    return [name for name in names(folder) if temporary_of(os.path.basename(name))]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_save_that_fails_costs_no_state(target, folder, monkeypatch, code):
    messages, numbers = [], []

    def act(failing):
        with opened(target, force=True) as journal:
            journal.claim("000")
            save(journal, 1)
            save(journal, 2)
            failing.begin()
            try:
                save(journal, 3)
            except StorageError as error:
                messages.append(str(error))
            failing.end()

    def look(failing):
        assert strays(folder) == []
        with opened(target) as journal:
            journal.claim("000")
            state = journal.load_state("000")
            numbers.append(number_of(state))
            assert is_saved(state, number_of(state))
            assert journal.damaged == []
            save(journal, 3)
            assert is_saved(journal.load_state("000"), 3)

    for failing in each_call(monkeypatch, code, act):
        look(failing)
    assert numbers == [2] * 14 + [3], "where only the folder was not forced to the disk, the new state is there"
    assert len(messages) == len(numbers)
    assert all(f"cannot be written: {WORDS[code]}" in text and "try: " in text for text in messages)


def test_rows_of_a_save_that_failed_are_not_written_again(target, monkeypatch):
    with opened(target) as journal:
        journal.claim("000")
        save(journal, 1)
        with monkeypatch.context() as patch:
            failing = FailingCalls(patch, 12, errno.ENOSPC)  # behind the rows, before the small arrays
            failing.begin()
            with pytest.raises(StorageError):
                save(journal, 2)
        grown = Rows(9)
        journal.save_state("000", small(3), {"vectors": grown})
        assert grown.asked == [6]
        assert is_saved(journal.load_state("000"), 3)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
def test_a_unit_is_finished_or_still_has_its_state(target, folder, monkeypatch, code):
    def act(failing):
        with opened(target, force=True) as journal:
            journal.claim("000")
            save(journal, 1)
            failing.begin()
            try:
                journal.finish("000", BLOCK)
            except StorageError:
                assert failing.failed is not None
            failing.end()

    finished = []
    for _ in each_call(monkeypatch, code, act):
        assert strays(folder) == []
        with opened(target) as journal:
            finished.append(journal.finished("000") is not None)
            assert journal.damaged == []
            assert finished[-1] or (journal.claim("000") and is_saved(journal.load_state("000"), 1))
    assert finished == [False] * 5 + [True]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_journal_is_begun_whole_or_begun_again(target, folder, monkeypatch, code):
    def act(failing):
        shutil.rmtree(folder, ignore_errors=True)
        failing.begin()
        try:
            with opened(target) as journal:
                journal.settle({"engine": "retained"})
                journal.claim("000")
        except (StorageError, UsageError):  # a manifest that the disk gives up no more is damaged
            assert failing.failed is not None
        failing.end()

    count = 0
    for _ in each_call(monkeypatch, code, act):
        count += 1
        assert strays(folder) == []
        with opened(target) as journal:
            assert journal.settle({"engine": "lockstep"})["engine"] in ("retained", "lockstep")
            assert journal.claim("000")
            assert journal.damaged == []
    assert count > 15


def test_each_damaged_file_is_told_and_costs_no_other(target, folder):
    """Flip one bit in each file in turn: what it held is computed again, all else is as it was."""
    random.seed(0)
    with opened(target) as journal:
        journal.settle({"engine": "retained"})
        for unit in ("001", "002"):
            journal.claim(unit)
            journal.finish(unit, BLOCK)
        journal.claim("000")
        for number in STATES:
            save(journal, number)
    whole = {name: (folder / name).read_bytes() for name in names(folder)}
    held = [name for name in sorted(whole) if whole[name] and not name.startswith(("claims", "processes", "door"))]
    assert len(held) == 9

    for name in held:
        for path, content in whole.items():
            (folder / path).write_bytes(content)
        changed = bytearray(whole[name])
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        (folder / name).write_bytes(changed)
        if name == "manifest.json":
            with pytest.raises(UsageError):
                opened(target)
            continue
        with opened(target) as journal:
            journal.claim("000")
            state = journal.load_state("000")
            kept = {
                "settled.json": journal.settle({"engine": "lockstep"}) == {"engine": "retained"},
                "units/001": journal.finished("001") is not None,
                "units/002": journal.finished("002") is not None,
                "states/000.a": number_of(state) == 3,
            }
            assert len(journal.damaged) == 1, journal.damaged
            assert name in journal.damaged[0]
            lost = [part for part, there in kept.items() if not there]
            if name == "states/000.b":
                assert lost == [], "the older of two states"
            elif name.endswith(".rows"):
                assert lost == ["states/000.a"]
                assert number_of(state) == (2 if name.endswith("6-9.rows") else None)
            else:
                assert lost == [name]
                assert state is not None


def test_no_clock_decides_which_state_is_newer(target, folder, monkeypatch):
    with opened(target) as journal:
        journal.claim("000")
        for number in STATES:
            save(journal, number)
    for days, name in ((1, "000.b"), (-400, "000.a")):
        os.utime(folder / "states" / name, (86_400 * days + 1e9,) * 2)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with opened(target) as journal:
        journal.claim("000")
        assert is_saved(journal.load_state("000"), 3)


def test_one_piece_of_rows_is_in_memory_at_a_time(target):
    class Counted:
        """Rows whose pieces are counted as long as somebody holds them."""

        alive = most = 0

        def __len__(self):
            return 12

        def rows_from(self, first):
            for _ in range(first, 12, 2):
                piece = np.ones((2, 50_000))
                Counted.alive += 1
                Counted.most = max(Counted.most, Counted.alive)
                weakref.finalize(piece, self.gone)
                yield piece
                del piece

        @staticmethod
        def gone():
            Counted.alive -= 1

    with opened(target) as journal:
        journal.claim("000")
        journal.save_state("000", small(1), {"vectors": Counted()})
    assert Counted.most <= 2, "the one that is written, while the next is made"
    assert Counted.alive == 0
