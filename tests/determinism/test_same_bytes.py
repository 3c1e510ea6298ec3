"""The same command gives the same bytes: same seed, same machine, one thread."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import trained_mlp

import hessent
from hessent.__main__ import main
from hessent.pipeline import prepare

SAMPLED = ("--method", "lanczos", "--max-matvecs", "40")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    shutil.copy(trained_mlp(), tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, name: str, *words: str) -> bytes:
    assert main(["spectrum", "a.safetensors", *SAMPLED, "-o", name, "-q", *words]) == 0
    return (folder / name).read_bytes()


def elsewhere(folder: Path, name: str, *words: str, **environment: str) -> bytes:
    """The same in a process of its own, whose memory lies elsewhere."""
    command = [sys.executable, "-m", "hessent", "spectrum", "a.safetensors", *SAMPLED, "-o", name, "-q", *words]
    paths = {"PYTHONPATH": str(Path(hessent.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env={**os.environ, **paths, **environment}, check=True, capture_output=True)
    return (folder / name).read_bytes()


def test_two_runs_write_the_same_bytes_whatever_the_clock_says(folder):
    """What was chosen by timing, and the times that are told, are those of the first run."""
    first = written(folder, "1.spectrum.h5")
    assert elsewhere(folder, "2.spectrum.h5") == first
    assert (folder / "1.spectrum.h5").stat().st_mtime_ns != (folder / "2.spectrum.h5").stat().st_mtime_ns


def test_with_engine_and_micro_batch_given_nothing_is_left_to_the_clock(folder, monkeypatch):
    fixed = ("--engine", "retained", "--batch-size", "32")
    first = written(folder, "1.spectrum.h5", *fixed)
    monkeypatch.setenv("HESSENT_CACHE", str(folder / "empty"))
    assert written(folder, "2.spectrum.h5", *fixed) == first
    assert not (folder / "empty").exists()


def test_another_seed_gives_other_bytes(folder):
    assert written(folder, "1.spectrum.h5") != written(folder, "2.spectrum.h5", "--seed", "1")


def test_how_much_memory_is_free_changes_nothing_far_from_the_limits(folder, monkeypatch):
    files = []
    for free in (2**30, 2**33):
        monkeypatch.setattr(prepare, "available_memory", lambda device, free=free: free)
        files.append(written(folder, f"{free}.spectrum.h5"))
    assert files[0] == files[1]
