"""A checkpoint that changes between its header and its tensors: exit 2, and the result of before is left alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from small_run import trained_mlp

from hessent.__main__ import main
from hessent.checkpoint import safetensors_files


def shortened(path: Path) -> None:
    os.truncate(path, os.stat(path).st_size - 100)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy(path, other)
    os.replace(other, path)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0" * 8)


def overwritten(path: Path) -> None:
    """The same size: only its time tells."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 2], ids=["before the first tensor", "between tensors"])
@pytest.mark.parametrize("fault", [shortened, emptied, replaced, grown, overwritten, os.unlink])
def test_a_checkpoint_that_changes_after_its_header_is_refused(tmp_path, monkeypatch, capsys, fault, at):
    path = tmp_path / "a.safetensors"
    shutil.copy(trained_mlp(), path)
    monkeypatch.chdir(tmp_path)
    Path("a.spectrum.h5").write_bytes(b"what was computed before")
    original, reads = safetensors_files._read_tensor, []

    def read(*words):
        if len(reads) == at:
            fault(path)
        reads.append(1)
        return original(*words)

    monkeypatch.setattr(safetensors_files, "_read_tensor", read)
    code = main(["spectrum", "a.safetensors", "-o", "b.spectrum.h5"])
    said = capsys.readouterr().err
    assert len(reads) > at
    assert code == 2, said
    assert "a.safetensors: the file changed while reading it" in said or "there is no such file" in said
    assert "Traceback" not in said
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "a.safetensors") == ["a.spectrum.h5"]
    assert Path("a.spectrum.h5").read_bytes() == b"what was computed before"
