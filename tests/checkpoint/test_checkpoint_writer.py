"""A checkpoint is written whole or not at all, and the same content gives the same bytes."""

import errno
import os
import subprocess
import sys
import threading

import pytest
import torch
from safetensors import safe_open

from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.writer import save_checkpoint
from hessent.errors import CheckpointError, StorageError

METADATA = CheckpointMetadata(
    arch="mlp", step=3, total_steps=10, metrics={"train_loss": 0.5}, extra={"b": "2", "a": "1"}
)


def tensors():
    torch.manual_seed(0)
    return {
        "fc.weight": torch.randn(4, 3),
        "fc.bias": torch.randn(4).to(torch.bfloat16),
        "count": torch.tensor(5),
        "mask": torch.tensor([True, False, True]),
        "turned": torch.randn(2, 5).T,
        "empty": torch.zeros(0, 2),
        "näme/with \u202e": torch.ones(1, dtype=torch.float64),
    }


def save(path, **changes):
    save_checkpoint(str(path), changes.pop("tensors", tensors()), METADATA, **changes)
    return str(path)


def test_what_is_written_is_read(tmp_path):
    checkpoint = open_checkpoint(save(tmp_path / "a.safetensors"))
    assert checkpoint.metadata == METADATA
    loaded = checkpoint.load(torch.float64)
    assert loaded.tensors.keys() == tensors().keys()
    assert all(torch.equal(loaded.tensors[name].to(value.dtype), value) for name, value in tensors().items())


def test_other_readers_read_it(tmp_path):
    path = save(tmp_path / "a.safetensors")
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(tensors())
        assert file.metadata()["hessent.step"] == "3"
        assert all(torch.equal(file.get_tensor(name), value) for name, value in tensors().items())


def test_the_same_content_gives_the_same_bytes(tmp_path):
    first = save(tmp_path / "a.safetensors")
    second = save(tmp_path / "b.safetensors", tensors=dict(reversed(tensors().items())))
    with open(first, "rb") as one, open(second, "rb") as other:
        assert one.read() == other.read()


def test_data_begin_aligned(tmp_path):
    with open(save(tmp_path / "a.safetensors"), "rb") as handle:
        assert int.from_bytes(handle.read(8), "little") % 8 == 0


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    save(tmp_path / "runs" / "one" / "a.safetensors")
    assert os.listdir(tmp_path / "runs" / "one") == ["a.safetensors"]


def test_a_bare_name_is_written_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("a.safetensors")
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_the_file_may_be_read_by_others_as_usual(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    assert os.stat(save(tmp_path / "a.safetensors")).st_mode == plain.stat().st_mode


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission"), (errno.EIO, "Input/output error")],
)
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call, code, words):
    path = save(tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=words):
        save(path, tensors={"other": torch.zeros(1)})
    monkeypatch.undo()
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


FILL_THE_DISK = """
import resource, signal, sys, torch
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.writer import save_checkpoint
from hessent.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save_checkpoint(sys.argv[1], {"w": torch.zeros(100_000)}, CheckpointMetadata())
except StorageError:
    sys.exit(7)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_write_that_breaks_off_in_the_middle_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "a.safetensors")]
    assert subprocess.run(command, check=False).returncode == 7
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(StorageError):
        save(tmp_path / "runs" / "a.safetensors")


@pytest.mark.parametrize("name", ["a.pt", "a", "a.optim.safetensors"])
def test_a_name_that_would_not_be_read_is_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
        save(tmp_path / name)


@pytest.mark.parametrize("bad", [{"w": torch.zeros(1, dtype=torch.complex128)}, {"__metadata__": torch.zeros(1)}])
def test_what_could_not_be_read_is_not_written(tmp_path, bad):
    with pytest.raises(CheckpointError):
        save(tmp_path / "a.safetensors", tensors=bad)
    assert os.listdir(tmp_path) == []


def test_a_reader_beside_the_writer_sees_whole_files_only(tmp_path):
    path = save(tmp_path / "a.safetensors", tensors={"w": torch.zeros(20_000)})
    stop = threading.Event()

    def write():
        number = 0.0
        while not stop.is_set():
            number += 1
            save(path, tensors={"w": torch.full((20_000,), number)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            try:
                values = open_checkpoint(path).load().tensors["w"]
            except CheckpointError as error:
                assert "changed while reading" in str(error)  # noqa: PT017
            else:
                assert len(set(values.tolist())) == 1
    finally:
        stop.set()
        writer.join()
