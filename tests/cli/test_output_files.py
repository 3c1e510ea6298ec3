"""Files that options name to be written: what cannot be had back is never replaced, and all is told beforehand."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import sample_spectra
import torch
from small_run import trained_mlp

from hessent.__main__ import main
from hessent.measures.written import MeasuredWriter
from hessent.storage.file_kinds import FileKind, kind_of_file

MEASURING = (
    "hessent.pipeline.lion_run.run_lion",
    "hessent.pipeline.step.run.run_step",
    "hessent.pipeline.spectrum_run.run_spectrum",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a checkpoint, spectra, links and texts, in which nothing may be measured."""
    for place in MEASURING:
        monkeypatch.setattr(place, _measured)
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained_mlp(), "ck.safetensors")
    for name in ("a.spectrum.h5", "b.spectrum.h5"):
        MeasuredWriter().write(name, sample_spectra.spectrum())
    torch.save({"weight": torch.zeros(2)}, "other.pt")
    Path("link.toml").symlink_to("ck.safetensors")
    os.link("ck.safetensors", "hard.json")
    Path("model.py").write_text("def net():\n    return None\n")
    Path("x.npz").write_bytes(b"PK\x03\x04 and so on")
    Path("hessent.toml").write_text("[tool.hessent]\nseed = 1\n")
    Path("policy.toml").write_text('[[rule]]\nmeasure = "trace"\nmax = 3\n')
    Path("folder").mkdir()
    return tmp_path


def _measured(*_words, **_named):
    raise AssertionError("it measures")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


READS, FORMAT = "a file that this command reads", "is not replaced by something else"
SPECTRUM = ["spectrum", "ck.safetensors", "-o", "new.spectrum.h5", "--json-out"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lion", "ck.safetensors", "-o", "ck.safetensors"], READS),
        (["lion", "ck.safetensors", "-o", "link.toml"], f"link.toml: is a link to {READS}"),
        (["lion", "ck.safetensors", "-o", "hard.json"], READS),
        (["lion", "ck.safetensors", "-o", "other.pt"], FORMAT),
        (["lion", "ck.safetensors", "-o", "folder"], "--out folder: is a folder"),
        (["lion", "ck.safetensors", "-o", "folder/../link.toml"], READS),
        (["lion", "ck.safetensors", "-o", "s.toml", "--plot", "nodir/x.png"], "mkdir -p nodir"),
        (["lion", "ck.safetensors", "-o", "x.svg", "--plot", "./x.svg"], "--plot ./x.svg: is the file that --out"),
        (["lion", "ck.safetensors", "-o", "-"], "./- if - is meant"),
        (["lion", "ck.safetensors", "-o", "hessent.toml"], READS),
        (["lion", "ck.safetensors", "-o", "model.py/x"], "'model.py' is not a folder"),
        (["lion", "ck.safetensors", "-o", "/dev/null"], "not a regular file"),
        (["lion", "ck.safetensors", "--arch", "model.py:net", "-o", "model.py"], READS),
        (["lion", "ck.safetensors", "--data", "arrays:x.npz?layout=nchw", "-o", "x.npz"], READS),
        (["step", "ck.safetensors", "--plot", "nodir/x.png"], "the folder 'nodir' does not exist"),
        (["step", "ck.safetensors", "--plot", "ck.safetensors"], READS),
        (["spectrum", "ck.safetensors", "-o", "ck.safetensors"], READS),
        (["spectrum", "ck.safetensors", "-o", "ck.safetensors", "--force"], READS),
        (["spectrum", "ck.safetensors", "-o", "other.pt", "--force"], FORMAT),
        ([*SPECTRUM, "ck.safetensors"], READS),
        ([*SPECTRUM, "new.spectrum.h5"], "is the file that --out writes"),
        ([*SPECTRUM, "nodir/x.json"], "mkdir -p nodir"),
        ([*SPECTRUM, "a.spectrum.h5"], f"is a spectrum file, and {FORMAT}"),
        (["spectrum", "ck.safetensors", "--json-out", "ck.spectrum.h5"], "is the file that --out writes"),
        (["plot", "a.spectrum.h5", "-o", "nodir/x.png"], "mkdir -p nodir"),
        (["plot", "a.spectrum.h5", "-o", "a.spectrum.h5"], READS),
        (["report", "a.spectrum.h5", "-o", "a.spectrum.h5"], READS),
        (["report", ".", "-o", "b.spectrum.h5"], READS),
        (["report", "a.spectrum.h5", "-o", "ck.safetensors"], f"is a safetensors file, and {FORMAT}"),
        (["report", "a.spectrum.h5", "-o", "nodir/r.html"], "mkdir -p nodir"),
        (["export", "a.spectrum.h5", "--to", "csv", "-o", "ck.safetensors"], FORMAT),
        (["export", "a.spectrum.h5", "--to", "csv", "-o", "a.spectrum.h5"], READS),
        (["export", "a.spectrum.h5", "-o", "nodir/x.csv"], "mkdir -p nodir"),
        (["merge", "a.spectrum.h5", "b.spectrum.h5", "-o", "a.spectrum.h5", "--force"], READS),
        (["merge", "a.spectrum.h5", "b.spectrum.h5", "-o", "ck.safetensors", "--force"], FORMAT),
        (["check", "a.spectrum.h5", "--update-baseline", "--baseline", "nodir/a.json"], "mkdir -p nodir"),
        (["check", "a.spectrum.h5", "--update-baseline", "--baseline", "hard.json"], FORMAT),
    ],
)
def test_what_cannot_be_had_back_is_told_before_anything_is_measured(folder, capfd, words, told):
    before = contents(folder)
    assert main(words) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert contents(folder) == before


def test_all_problems_are_told_at_once(folder, capfd):
    assert main(["lion", "link.toml", "-o", "ck.safetensors", "--plot", "nodir/x.png"]) == 2
    err = capfd.readouterr().err
    assert f"- --out ck.safetensors: is {READS}\n" in err
    assert "- --plot nodir/x.png: the folder 'nodir' does not exist\n" in err
    assert "mkdir -p nodir" in err


@pytest.mark.parametrize("name", ["old.csv", "old.html", "old.txt", "empty.safetensors", "to_text.txt"])
def test_texts_and_empty_files_are_replaced_as_ever(folder, name):
    Path("old.csv").write_text("a,b\n" * 100)
    Path("old.html").write_text("<html>")
    Path("old.txt").write_text('{"a": 1}')
    Path("empty.safetensors").touch()
    Path("to_text.txt").symlink_to("old.txt")
    assert main(["export", "a.spectrum.h5", "--to", "csv", "-q", "-o", name]) == 0
    assert Path(name).read_text().startswith("file,")


def test_a_spectrum_takes_the_place_of_a_spectrum_as_ever(folder, capfd):
    shutil.copy("b.spectrum.h5", "c.spectrum.h5")
    assert main(["merge", "a.spectrum.h5", "b.spectrum.h5", "-o", "c.spectrum.h5"]) == 2
    assert "--force to replace it" in capfd.readouterr().err
    Path("d.spectrum.h5").write_bytes(b"broken")
    assert main(["spectrum", "ck.safetensors", "-o", "d.spectrum.h5", "--force"]) == 70  # it measures


def test_a_page_and_a_baseline_may_lie_beside_what_they_are_made_of(folder):
    words = ["--no-pictures", "-q", "-o", "page.html"]
    assert [main(["report", "a.spectrum.h5", *words]) for _ in range(2)] == [0, 0]
    words = ["check", "a.spectrum.h5", "--update-baseline", "--baseline", "main.json"]
    assert [main(words) for _ in range(2)] == [0, 0]


def test_files_are_told_by_their_content_else_by_their_name(folder):
    np.save("array.npy", np.zeros(3))
    torch.save({"weight": torch.zeros(2)}, "old_kind", _use_new_zipfile_serialization=False)
    Path("weights.bin").write_bytes(b"who knows")
    Path("foreign").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    Path("text").write_text("{}, {}, {}, {}")
    shutil.copy("a.spectrum.h5", "renamed")
    known = {
        "ck.safetensors": FileKind.SAFETENSORS,
        "hard.json": FileKind.SAFETENSORS,
        "a.spectrum.h5": FileKind.SPECTRUM,
        "renamed": FileKind.SPECTRUM,
        "other.pt": FileKind.TORCH,
        "old_kind": FileKind.TORCH,
        "array.npy": FileKind.NUMPY,
        "foreign": FileKind.HDF5,
        "weights.bin": FileKind.NAMED_AS_WEIGHTS,
        "text": None,
        "policy.toml": None,
        "nowhere": None,
        "folder": None,
    }
    assert {name: kind_of_file(name) for name in known} == known
