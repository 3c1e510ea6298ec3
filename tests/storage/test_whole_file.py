"""A file is there whole or not at all, whatever call fails; nothing else is left, and a message says what to do."""

import errno
import os
import threading

import pytest
from failing_calls import CODES, WORDS, each_call

from hessent.errors import StorageError
from hessent.storage.sealed_file import DamagedFileError
from hessent.storage.whole_file import read_whole, temporary_of, write_first, write_whole

OLD, NEW = b"old" * 1000, b"new" * 2000


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("before", [None, OLD], ids=["no file", "an old file"])
def test_whatever_call_fails_the_old_file_or_the_new_one_is_there(tmp_path, monkeypatch, before, code):
    path = tmp_path / "result"
    failed, messages = [], []

    def write(failing):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        failing.begin()
        try:
            write_whole(path, NEW)
        except StorageError as error:
            messages.append(str(error))

    for failing in each_call(monkeypatch, code, write):
        found = path.read_bytes() if path.exists() else None
        # Only where the folder alone could not be forced to the disk has the new file taken its place.
        assert found == (NEW if len(failed) == 5 else before)
        assert os.listdir(tmp_path) == ([] if found is None else ["result"])
        failed.append(failing.failed)
    assert failed == ["open", "open", "write", "fsync", "replace", "fsync"]
    assert path.read_bytes() == NEW
    assert len(messages) == len(failed)
    assert all(f"{path}: cannot be written: {WORDS[code]}" in text and "try: " in text for text in messages)


def test_a_call_that_writes_a_part_is_gone_on_with(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, part: write(descriptor, part[:7]))
    write_whole(tmp_path / "a", [OLD, memoryview(NEW), bytearray(b"end"), b""])
    assert (tmp_path / "a").read_bytes() == OLD + NEW + b"end"


def test_what_breaks_off_while_it_is_made_leaves_nothing(tmp_path):
    def parts():
        yield OLD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a", parts())
    assert os.listdir(tmp_path) == []


def test_a_link_is_followed_where_that_is_wanted(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link, real = tmp_path / "link", tmp_path / "elsewhere" / "real"
    link.symlink_to(real)
    write_whole(link, OLD)
    assert (link.is_symlink(), real.read_bytes()) == (True, OLD)
    write_whole(link, NEW, follow_link=False)
    assert (link.is_symlink(), link.read_bytes(), real.read_bytes()) == (False, NEW, OLD)


def test_folders_are_made_only_when_asked(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    with pytest.raises(StorageError, match=r"No such file(.|\n)*mkdir -p"):
        write_whole(path, OLD)
    write_whole(path, OLD, make_folders=True)
    assert path.read_bytes() == OLD


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    write_whole(tmp_path / ("n" * 255), OLD)
    write_whole(tmp_path / ("ü" * 127), OLD)
    assert len(os.listdir(tmp_path)) == 2


def test_a_bare_name_is_written_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_whole("a", OLD)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "nul"])
def test_what_is_no_file_is_not_replaced(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = f"{path}\0"
    before = os.listdir(tmp_path)
    with pytest.raises(StorageError, match=r"it is a folder|not a regular file|null byte") as caught:
        write_whole(path, OLD)
    if kind == "folder":
        assert "expected: the name of a file" in str(caught.value)
    assert os.listdir(tmp_path) == before


def test_a_full_disk_says_how_much_room_is_wanted(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=rf"6,000 bytes of free space in '{tmp_path}'(.|\n)*df -h"):
        write_whole(tmp_path / "a", NEW)


def test_of_many_writers_one_is_first_and_nothing_is_left_of_the_others(tmp_path):
    path, barrier, first = tmp_path / "a", threading.Barrier(8), []

    def write(number):
        content = bytes([number]) * 10_000
        barrier.wait()
        if write_first(path, content):
            first.append(content)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes()] == first
    assert os.listdir(tmp_path) == ["a"]


def test_without_hard_links_the_first_stays_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    assert write_first(tmp_path / "a", OLD)
    assert not write_first(tmp_path / "a", NEW)
    assert (tmp_path / "a").read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_the_first_file_is_whole_or_not_there_whatever_call_fails(tmp_path, monkeypatch, code):
    path = tmp_path / "a"

    def write(failing):
        path.unlink(missing_ok=True)
        failing.begin()
        try:
            assert write_first(path, NEW)
        except StorageError:
            assert failing.failed is not None

    for _ in each_call(monkeypatch, code, write):
        assert os.listdir(tmp_path) in ([], ["a"])
        assert not path.exists() or path.read_bytes() == NEW
    assert path.read_bytes() == NEW


def test_temporary_files_are_told_from_all_others():
    assert temporary_of(".000.a.17-0123abcd.tmp") == "000.a"
    assert temporary_of(f".{'n' * 200}.17-0123abcd.tmp") == "n" * 200
    for name in ("000.a", ".000.a.tmp", "000.a.17-0123abcd.tmp", ".000.a.17-0123abc.tmp", ".a.x-0123abcd.tmp"):
        assert temporary_of(name) is None


def test_reading_takes_regular_files_only_and_never_waits(tmp_path):
    write_whole(tmp_path / "a", OLD)
    assert read_whole(tmp_path / "a", most=len(OLD)) == OLD
    with pytest.raises(DamagedFileError, match="at most 2,999"):
        read_whole(tmp_path / "a", most=len(OLD) - 1)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder"):
        with pytest.raises(DamagedFileError):
            read_whole(tmp_path / name, most=10_000)
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "none", most=10)
