"""The process that reads HDF5 files of strangers: what it may do, and what becomes of one that misbehaves.

Each limit is tested by its own: the child asks for what the limit denies.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import sample_spectra
from spectrum_attacks import SPECTRUM_ATTACKS, attacked_file, unopened_images

import hessent
from hessent.errors import SpectrumFileError
from hessent.foreign import child_tree, hdf5_process
from hessent.foreign.child_limits import RefusedError
from hessent.foreign.hdf5_process import UnreadableError
from hessent.foreign.hdf5_tree import allowance, read_tree
from hessent.spectra import encoding
from hessent.spectra.hdf5_reader import from_bytes, load
from hessent.spectra.hdf5_writer import to_bytes, write_spectrum

ROOT = str(Path(hessent.__file__).parents[1])


def alone(script, *words, cwd=None, stdin=None):
    """Run a script in a fresh interpreter that can import hessent."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n" + script, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, stdin=stdin)


def replaced_child(tmp_path, monkeypatch, script):
    (tmp_path / "child.py").write_text(script)
    monkeypatch.setattr(hdf5_process, "CHILD", tmp_path / "child.py")


# ---- the file never meets the library in our own process -------------------------------------------------


def test_no_file_is_trusted_not_even_one_of_ours(tmp_path):
    write_spectrum(tmp_path / "a.h5", sample_spectra.spectrum())
    script = "from hessent.spectra.hdf5_reader import load; load(sys.argv[1]); print('h5py' in sys.modules)"
    done = alone(script, str(tmp_path / "a.h5"))
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("name", SPECTRUM_ATTACKS)
def test_every_attack_is_refused_with_a_sentence(tmp_path, name):
    edit, words = SPECTRUM_ATTACKS[name]
    path = attacked_file(tmp_path / "a.spectrum.h5", edit)
    begin = time.monotonic()
    with pytest.raises(SpectrumFileError) as caught:
        load(path)
    assert words in str(caught.value)
    assert all(line.isprintable() for line in str(caught.value).split("\n"))
    assert time.monotonic() - begin < 10  # a busy machine; the limits on computing are tested below


@pytest.mark.parametrize("name", unopened_images())
def test_an_image_that_is_none_is_refused(name):
    image = unopened_images()[name]
    with pytest.raises(SpectrumFileError, match="the HDF5 library"):
        from_bytes(encoding.preamble(image) + image, where="x")


# ---- limits that the child puts upon itself -----------------------------------------------------------------

LIMITED = "from hessent.foreign.child_limits import *\n"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of the system")


@LINUX
def test_a_child_that_makes_no_progress_is_ended_by_the_system():
    done = alone(LIMITED + "patience = Patience(1, 60)\nwhile True: pass")
    assert done.returncode == -signal.SIGXCPU


@LINUX
def test_a_child_that_makes_progress_goes_on_up_to_its_total():
    script = "patience = Patience(1, 2)\nwhile True:\n    print(spent(), flush=True)\n    patience.progress()\n"
    done = alone(LIMITED + script)
    assert "takes longer than its size explains" in done.stderr or done.returncode == -signal.SIGXCPU
    assert 1.5 < float(done.stdout.split()[-1]) < 2.5


@LINUX
def test_a_child_has_no_more_memory_than_it_was_given():
    done = alone(LIMITED + "set_limits(2**24)\nbytearray(2**23); print('small', flush=True)\nbytearray(2**26)")
    assert done.stdout == "small\n"
    assert "MemoryError" in done.stderr


@LINUX
def test_a_child_opens_no_other_file_and_writes_none(tmp_path):
    (tmp_path / "secret").write_text("x")
    script = "open_no_more()\ntry: open('secret')\nexcept OSError as error: print(error.strerror)"
    assert alone(LIMITED + script, cwd=tmp_path).stdout == "Too many open files\n"
    script = "set_limits(2**30)\nimport pathlib\npathlib.Path('new').write_bytes(b'x')"
    assert "File too large" in alone(LIMITED + script, cwd=tmp_path).stderr


@LINUX
def test_the_child_opens_its_file_and_then_no_other(tmp_path):
    write_spectrum(tmp_path / "a.h5", sample_spectra.spectrum())
    script = (
        "import json\nsys.argv[1] = json.dumps({'places': []})\nfrom hessent.foreign import hdf5_child\n"
        "print(hdf5_child.opened().valid)\ntry: open('a.h5')\nexcept OSError as error: print(error.strerror)"
    )
    with open(tmp_path / "a.h5", "rb") as file:
        assert alone(LIMITED + script, "", cwd=tmp_path, stdin=file).stdout == "1\nToo many open files\n"


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end(tmp_path):
    write_spectrum(tmp_path / "a.h5", sample_spectra.spectrum())
    size = (tmp_path / "a.h5").stat().st_size
    with open(tmp_path / "a.h5", "rb") as file:
        file.read()
        (tmp_path / "new").write_bytes(b"of another process")
        (tmp_path / "new").replace(tmp_path / "a.h5")
        assert read_tree(file, size) is not None


@LINUX
def test_a_child_leaves_no_core_dump():
    script = LIMITED + "import resource\nset_limits(2**30)\nprint(resource.getrlimit(resource.RLIMIT_CORE))"
    assert alone(script).stdout == "(0, 0)\n"


@LINUX
def test_the_child_sets_its_limits_before_it_opens_the_file(tmp_path, monkeypatch):
    # The real child under an allowance that no file can be read in.
    write_spectrum(tmp_path / "a.h5", sample_spectra.spectrum())
    monkeypatch.setattr(hdf5_process, "MEMORY", -(2**40))
    monkeypatch.setattr("hessent.foreign.hdf5_tree.allowance", lambda size: 0)
    with pytest.raises(SpectrumFileError):
        load(tmp_path / "a.h5")


def test_the_environment_names_no_code_to_load(tmp_path, monkeypatch):
    write_spectrum(tmp_path / "a.h5", sample_spectra.spectrum())
    for name in ("json", "h5py", "stat", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    load("a.h5")
    assert not (tmp_path / "ran").exists()
    assert "HDF5_PLUGIN_PATH" not in hdf5_process._environment()


# ---- what this side does about a child that hangs, crashes or lies -----------------------------------------


def test_a_child_that_hangs_is_ended(tmp_path, monkeypatch):
    replaced_child(tmp_path, monkeypatch, "import time\ntime.sleep(60)\n")
    monkeypatch.setattr(hdf5_process, "BUSY", 0.1)
    begin = time.monotonic()
    with pytest.raises(UnreadableError, match="takes longer"):
        read_tree(b"", 0)
    assert time.monotonic() - begin < 5


def test_a_child_that_hangs_amid_the_arrays_is_ended(tmp_path, monkeypatch):
    header = {"groups": [{"attributes": {}, "members": {"x": ["array", "<f8", [4]]}}]}
    script = f"import time\nprint({json.dumps(header)!r}, flush=True)\ntime.sleep(60)\n"
    replaced_child(tmp_path, monkeypatch, script)
    monkeypatch.setattr(hdf5_process, "BUSY", 0.3)
    with pytest.raises(UnreadableError, match="takes longer"):
        read_tree(b"", 0)


def test_a_child_that_closes_its_output_and_stays_is_ended(tmp_path, monkeypatch):
    replaced_child(tmp_path, monkeypatch, "import os, time\nos.close(1)\ntime.sleep(60)\n")
    monkeypatch.setattr(hdf5_process, "_SECONDS_TO_END", 0.2)
    begin = time.monotonic()
    with pytest.raises(UnreadableError):
        read_tree(b"", 0)
    assert time.monotonic() - begin < 5


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_of_the_library_is_a_sentence(tmp_path, monkeypatch):
    replaced_child(tmp_path, monkeypatch, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(UnreadableError, match=r"crashed on it \(SIGSEGV\)"):
        read_tree(b"", 0)


def test_a_child_that_cannot_start_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_process, "_places", list)
    with pytest.raises(UnreadableError, match="its reader could not start: No module named 'h5py'"):
        read_tree(b"", 0)


def group(**members):
    return {"attributes": {}, "members": members}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "null",
        "nonsense",
        "[" * 100_000,
        "{}",
        '{"groups": []}',
        '{"groups": [1]}',
        '{"groups": [{"attributes": {}}]}',
        json.dumps({"groups": [group(x=["group", 0])]}),
        json.dumps({"groups": [group(x=["group", 7])]}),
        json.dumps({"groups": [group(x=["array", "|O", [1]])]}),
        json.dumps({"groups": [group(x=["array", "<f8", [-1, -1]])]}),
        json.dumps({"groups": [group(x=["array", "<f8", [2**40]])]}),
        json.dumps({"groups": [group(x=["array", "<f8", ["1"]])]}),
        json.dumps({"groups": [group(x=["array", "<f8", [1]])]}),
        json.dumps({"groups": [group(x=[])]}),
        json.dumps({"groups": [{"attributes": {"a": ["i"]}, "members": {}}]}),
    ],
)
def test_whatever_the_child_answers_is_a_tree_or_an_error(tmp_path, monkeypatch, answer):
    # The library may have been taken over by the file: its process is believed in nothing.
    replaced_child(tmp_path, monkeypatch, f"print({answer!r})\n")
    with pytest.raises(UnreadableError):
        read_tree(b"", 0)


# ---- bounds of a tree ------------------------------------------------------------------------------------------


class Calm:
    def progress(self):
        pass


def walked(tmp_path, edit):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        edit(file)
        tree = child_tree.Tree(2**20, Calm())
        tree.walk(h5py.h5g.open(file.id, b"/"))
    return tree


def test_a_file_of_too_many_objects_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(child_tree, "MOST_OBJECTS", 50)
    walked(tmp_path, lambda file: [file.create_group(str(index)) for index in range(40)])
    with pytest.raises(RefusedError, match="more than 50 groups and arrays"):
        walked(tmp_path, lambda file: [file.create_group(str(index)) for index in range(60)])


def test_a_file_of_too_much_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(child_tree, "MOST_TEXT_BYTES", 10_000)
    walked(tmp_path, lambda file: file.attrs.__setitem__("a", np.bytes_(b"x" * 5_000)))
    with pytest.raises(RefusedError, match="more than 10,000 bytes"):
        walked(tmp_path, lambda file: [file.attrs.__setitem__(str(i), np.bytes_(b"x" * 5_000)) for i in range(3)])


def test_arrays_share_one_budget(tmp_path):
    tree = walked(tmp_path, lambda file: [file.create_dataset(str(i), data=np.zeros(50_000)) for i in range(4)])
    kinds = [kind for kind, *_ in tree.groups[0]["members"].values()]
    assert kinds == ["array", "array", "other array", "other array"]


def test_the_allowance_grows_with_the_file_and_ends():
    assert allowance(0) == 64 * 2**20
    assert allowance(10**7) == 64 * 2**20 + 2 * 10**7
    assert allowance(10**12) == 384 * 2**20


def test_a_large_file_of_many_blocks_is_read(tmp_path):
    blocks = [sample_spectra.exact_block(f"b{index}", size=2) for index in range(500)]
    content = to_bytes(sample_spectra.spectrum(blocks))
    assert len(from_bytes(content, where="x").blocks) == 500
