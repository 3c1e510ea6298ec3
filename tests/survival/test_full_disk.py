"""A disk that is full at any one write leaves the old result or the new one, and the command goes on afterwards."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from small_run import trained_mlp

from hessent.__main__ import main
from hessent.spectra.hdf5_reader import load


class Disk:
    """Counts the writes to files, and is full from one of them on."""

    def __init__(self, monkeypatch) -> None:
        self.writes, self.full_from = 0, float("inf")
        self._write = os.write
        monkeypatch.setattr("hessent.storage.whole_file.os.write", self.write)

    def write(self, descriptor: int, content) -> int:
        self.writes += 1
        if self.writes >= self.full_from:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, content)


def test_full_at_each_write_in_turn(tmp_path, monkeypatch, capsys):
    checkpoint = Path(shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors"))
    target = tmp_path / "run.spectrum.h5"
    words = ["spectrum", str(checkpoint), "-o", str(target), "--engine", "retained", "--batch-size", "48"]
    words += ["--method", "lanczos", "--max-matvecs", "20", "--no-full"]
    monkeypatch.setattr("hessent.pipeline.journalled_units._LEAST_SECONDS", 0.0)  # a state after every product
    disk = Disk(monkeypatch)
    assert main(words) == 0
    whole, writes = target.read_bytes(), disk.writes
    assert writes > 10
    for full_from in range(1, writes + 1):
        disk.writes, disk.full_from = 0, full_from
        target.unlink(missing_ok=True)
        code = main(words)
        said = capsys.readouterr().err
        if code != 0:  # states are saved by the clock: another run may write a little less
            assert code == 3, said
            assert "disk is full" in said
        if target.exists():
            assert code == 0 or not load(target).complete
        disk.full_from = float("inf")
        assert main(words) == 0, capsys.readouterr().err
        assert target.read_bytes() == whole
        assert not list(tmp_path.glob("*.partial"))
    disk.writes, disk.full_from = 0, 1
    assert main([*words, "--force"]) == 3
    assert target.read_bytes() == whole  # the old result
