"""A journal is taken up by the same measurement only; what is not its own is neither used, written nor removed."""

import errno
import json
import os
import shutil
import stat

import pytest
import sample_spectra
from small_states import IDENTITY, Rows, opened, small

from hessent.errors import StorageError, UsageError
from hessent.journal.journal import Journal, JournalGoneError

BLOCK = sample_spectra.exact_block()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "a.spectrum.h5"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a.spectrum.h5.partial"


def begun(target, units=("000",)):
    """Leave a journal with finished units, a state and settled choices."""
    with opened(target) as journal:
        journal.settle({"engine": "retained"})
        for unit in units:
            journal.claim(unit)
            journal.finish(unit, BLOCK)
        journal.claim("007")
        journal.save_state("007", small(1), {"vectors": Rows(3)})


def everything(path):
    """Return all that lies below a folder, but for the door, which tells who opened it last."""
    return {
        str(entry.relative_to(path)): entry.read_bytes() if stat.S_ISREG(entry.lstat().st_mode) else None
        for entry in sorted(path.rglob("*"))
        if entry.name != "door"
    }


def test_a_journal_begins_with_a_manifest_people_can_read(target, folder):
    opened(target).close()
    document = json.loads((folder / "manifest.json").read_text())
    assert document["schema"] == "hessent.journal/1"
    assert document["content"]["settings"] == {"blocks": ["layer", "full"], "rtol": 0.05}


def test_the_same_measurement_goes_on(target):
    begun(target)
    identity = {"settings": {"blocks": ["layer", "full"], "rtol": 0.05}, "seed": 0, "checkpoint": "ab" * 32}
    with opened(target, identity) as journal:
        assert journal.finished("000") is not None
        assert Journal.read_settled(target) == {"engine": "retained"}


def test_all_that_differs_is_told(target, folder):
    begun(target)
    before = everything(folder)
    other = {"checkpoint": "cd" * 50, "seed": 0, "settings": {"rtol": 0.01, "blocks": ["full"]}, "device": "cpu"}
    with pytest.raises(UsageError) as caught:
        opened(target, other)
    assert str(caught.value).split("\n") == [
        "a.spectrum.h5.partial: holds a measurement begun otherwise",
        f"  - checkpoint: {'ab' * 32} in the folder, {'cd' * 39}c… now",
        "  - device: nothing in the folder, cpu now",
        '  - settings.blocks: ["layer", "full"] in the folder, ["full"] now',
        "  - settings.rtol: 0.05 in the folder, 0.01 now",
        "  try: --force to discard it, or -o OTHER to keep both",
    ]
    assert everything(folder) == before


def test_force_begins_anew(target, folder):
    begun(target)
    (folder / "states" / ".000.a.17-0123abcd.tmp").write_bytes(b"half")
    with opened(target, {"seed": 1}, force=True) as journal:
        assert journal.finished("000") is None
        assert journal.claim("007")
        assert journal.load_state("007") is None
        assert Journal.read_settled(target) is None
        assert not [name for name in everything(folder) if "tmp" in name or name.startswith("states/")]


def test_force_is_refused_while_another_is_at_work(target, folder):
    with opened(target) as journal:
        journal.claim("000")
        before = everything(folder)
        with pytest.raises(UsageError, match=rf"is in use(.|\n)*process {os.getpid()} on "):
            opened(target, {"seed": 1}, force=True)
        assert everything(folder) == before
        journal.finish("000", BLOCK)
    opened(target, {"seed": 1}, force=True).close()


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "no object", "deep", "folder"])
def test_a_damaged_manifest_is_not_guessed_at(target, folder, harm):
    begun(target)
    manifest = folder / "manifest.json"
    content = bytearray(manifest.read_bytes())
    content[len(content) // 2] ^= 1
    harmed = {"flipped": content, "cut": content[:40], "empty": b"", "no object": b"[]", "deep": b"[" * 100_000}
    manifest.unlink()
    if harm == "folder":
        manifest.mkdir()
    else:
        manifest.write_bytes(harmed[harm])
    with pytest.raises(UsageError, match=r"manifest\.json: is damaged(.|\n)*--force"):
        opened(target)
    if harm != "folder":
        opened(target, force=True).close()


def test_each_flipped_bit_of_a_manifest_shows(target, folder):
    opened(target, {"seed": 0}).close()
    manifest = folder / "manifest.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        manifest.write_bytes(
            whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :]
        )
        with pytest.raises(UsageError):
            opened(target, {"seed": 0})
    manifest.write_bytes(whole)
    opened(target, {"seed": 0}).close()


def test_a_newer_journal_is_left_to_a_newer_hessent(target, folder):
    begun(target)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("hessent.journal/1", "hessent.journal/2"))
    with pytest.raises(UsageError, match=r"hessent\.journal/2(.|\n)*pip install -U hessent"):
        opened(target)


def test_units_without_a_manifest_belong_to_nobody(target, folder):
    begun(target)
    (folder / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"manifest\.json is missing(.|\n)*--force"):
        opened(target)


def test_what_is_in_the_way_is_named(target, folder, tmp_path):
    folder.write_text("mine")
    with pytest.raises(UsageError, match=r"a\.spectrum\.h5\.partial: is in the way: it is a file(.|\n)*mv "):
        opened(target, force=True)
    assert folder.read_text() == "mine"
    folder.unlink()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")
    with pytest.raises(UsageError, match="it is a symbolic link"):
        opened(target, force=True)
    assert os.listdir(tmp_path / "elsewhere") == []
    folder.unlink()
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"a folder that hessent did not make(.|\n)*- thesis\.tex"):
        opened(target, force=True)
    assert (folder / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("room", ["claims", "processes", "states", "units"])
def test_a_room_that_leads_elsewhere_is_not_entered(target, folder, tmp_path, room):
    begun(target)
    (tmp_path / "elsewhere").mkdir()
    for name in ("000", "000.a", "17-0123abcd"):
        (tmp_path / "elsewhere" / name).write_text("mine")
    for path in (folder / room).iterdir():
        path.unlink()
    (folder / room).rmdir()
    (folder / room).symlink_to(tmp_path / "elsewhere")
    for force in (False, True):
        with pytest.raises(UsageError, match=rf"{room}: is in the way: it is a symbolic link"):
            opened(target, force=force)
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["000", "000.a", "17-0123abcd"]


def test_a_file_that_leads_elsewhere_is_replaced_not_followed(target, folder, tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    with opened(target) as journal:
        journal.claim("000")
        for name in ("units/000", "states/000.a", "states/000.vectors.0-3.rows"):
            (folder / name).symlink_to(tmp_path / "elsewhere")
        assert journal.load_state("000") is None
        for name in ("units/000", "states/000.a", "states/000.vectors.0-3.rows"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(tmp_path / "elsewhere")
        journal.save_state("000", small(1), {"vectors": Rows(3)})
        assert journal.load_state("000") is not None
        assert journal.finished("000") is None
        journal.finish("000", BLOCK)
        journal.discard()
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert os.listdir(tmp_path) == ["elsewhere"]


def test_discarding_removes_what_is_known_and_nothing_else(target, folder):
    begun(target)
    mine = [
        "notes.txt",
        "units/notes.txt",
        "states/000.c",
        "states/000.vectors.1.rows",
        "claims/.hidden",
        "more/000",
    ]
    (folder / "more").mkdir()
    for name in mine:
        (folder / name).write_text("mine")
    with opened(target) as journal:
        assert journal.discard() == [
            "more",
            "notes.txt",
            "states/000.c",
            "states/000.vectors.1.rows",
            "units/notes.txt",
        ]
    left = {name for name, content in everything(folder).items() if content is not None}
    assert left == set(mine)


def test_discarding_leaves_nothing_of_its_own(target, folder, tmp_path):
    begun(target)
    (folder / "states" / ".000.a.17-0123abcd.tmp").write_bytes(b"half")
    with opened(target) as journal, opened(target) as other:
        assert not journal.gone
        journal.claim("001")
        assert journal.discard() == []
        assert journal.gone
        assert other.gone
        for act in (other.claim, other.finished):
            with pytest.raises(JournalGoneError):
                act("000")
        assert other.claimed_by("001") is None
        assert other.discard() == []
    assert os.listdir(tmp_path) == []


def test_who_is_late_discards_nothing_of_a_new_journal(target, folder):
    with opened(target) as late:
        opened(target).discard()
        begun(target)
        before = everything(folder)
        assert late.gone
        assert late.discard() == []
        assert everything(folder) == before


def test_what_others_work_on_is_not_discarded(target, folder):
    with opened(target) as journal, opened(target) as other:
        other.claim("000")
        other.save_state("000", small(1), {"vectors": Rows(3)})
        before = everything(folder)
        assert journal.discard() == []
        assert {name for name in before if not name.startswith("processes")} <= everything(folder).keys()
        other.finish("000", BLOCK)
        assert other.discard() == []
    assert os.listdir(folder.parent) == []


def test_a_folder_that_vanishes_under_work_is_told(target, folder):
    with opened(target) as journal:
        journal.claim("000")
        shutil.rmtree(folder)
        for act in (
            lambda: journal.save_state("000", small(1), {}),
            lambda: journal.finish("000", BLOCK),
            lambda: journal.settle({}),
        ):
            with pytest.raises(JournalGoneError, match="was removed while this process was at work"):
                act()


def test_a_target_in_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UsageError, match=r"does not exist(.|\n)*mkdir -p"):
        opened(tmp_path / "none" / "a.spectrum.h5")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_told_at_once(target, tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StorageError, match=r"no permission|the file system is read-only"):
        opened(target)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_half_written_goes(target, folder):
    begun(target)
    stale = [folder / "units" / ".003.17-0123abcd.tmp", folder / "states" / ".003.a.17-0123abcd.tmp"]
    with opened(target):
        for path in stale:
            path.write_bytes(b"half")
        with opened(target) as journal:
            assert all(path.exists() for path in stale), "somebody else may be writing them"
            journal.claim("003")
            assert not any(path.exists() for path in stale)
        for path in stale:
            path.write_bytes(b"half")
    opened(target).close()
    assert not any(path.exists() for path in stale)


def test_what_a_killed_process_left_half_written_of_the_file_goes_when_nobody_can_be_writing_it(target, tmp_path):
    half = tmp_path / f".{target.name}.17-0123abcd.tmp"
    others = [f".{target.name}x.17-0123abcd.tmp", f".{target.name}.tmp", f"{target.name}.17-0123abcd.tmp"]
    for name in others:
        (tmp_path / name).touch()
    half.touch()
    with opened(target) as journal:
        assert not half.exists()
        half.touch()
        with opened(target) as other:
            assert half.exists(), "the first may be writing it"
            assert other.discard() == []
        assert half.exists()
        journal.close()
    with opened(target) as journal:
        half.touch()
        journal.discard()
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_choices_are_those_of_the_first(target):
    assert Journal.read_settled(target) is None
    with opened(target) as journal, opened(target) as other:
        assert journal.settle({"engine": "retained", "batch": (4, 8)}) == {"engine": "retained", "batch": [4, 8]}
        assert other.settle({"engine": "lockstep"}) == {"engine": "retained", "batch": [4, 8]}
        assert Journal.read_settled(target) == {"engine": "retained", "batch": [4, 8]}


def test_damaged_choices_are_made_again(target, folder):
    begun(target)
    path = folder / "settled.json"
    path.write_bytes(path.read_bytes().replace(b"retained", b"retaimed"))
    assert Journal.read_settled(target) is None
    with opened(target) as journal:
        assert journal.settle({"engine": "lockstep"}) == {"engine": "lockstep"}
        assert len(journal.damaged) == 1
        assert Journal.read_settled(target) == {"engine": "lockstep"}


@pytest.mark.parametrize("unit", ["", "../000", "a.b", "x" * 33, "ü"])
def test_a_unit_has_a_plain_name(target, unit):
    with opened(target) as journal, pytest.raises(ValueError, match="not the name of a unit"):
        journal.claim(unit)


def test_identities_hold_what_json_holds(target):
    opened(target, {"a": float("nan"), "b": (1, 2), "c": None}).close()
    opened(target, {"a": float("nan"), "b": [1, 2], "c": None}).close()
    assert IDENTITY["settings"]["blocks"] == ("layer", "full"), "what was given is as it was"
