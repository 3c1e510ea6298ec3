"""Processes that share one target, and jobs that share nothing, make the file of a single process."""

from __future__ import annotations

import re
import subprocess
import time

from started_commands import CHECKPOINT, QUICK, Command, kill

from hessent.__main__ import main
from hessent.spectra.hdf5_reader import load


def test_three_processes_on_one_target_one_of_them_killed(tmp_path):
    whole = Command(tmp_path / "whole.spectrum.h5", *QUICK)
    whole.finish()
    shared = Command(tmp_path / "shared.spectrum.h5", *QUICK)
    processes = [shared.start() for _ in range(3)]
    while not any((shared.journal / "units").glob("*")):
        time.sleep(0.05)
        assert all(process.poll() is None for process in processes), shared.log.read_text()
    assert kill(processes.pop(), 0.0)
    assert [process.wait(timeout=600) for process in processes] == [0, 0], shared.log.read_text()
    assert shared.target.read_bytes() == whole.target.read_bytes()
    assert not shared.journal.exists()
    # Each of the two that lived printed the finished table.
    assert len(re.findall(r"^ *head .*$", shared.log.read_text(), re.MULTILINE)) >= 2


def test_units_of_three_jobs_merged(tmp_path, capsys):
    whole = Command(tmp_path / "whole.spectrum.h5", *QUICK)
    whole.finish()
    parts = [
        Command(tmp_path / f"run.units-{number}-of-3.spectrum.h5", *QUICK, "--units", f"{number}/3")
        for number in (1, 2, 3)
    ]
    jobs: list[subprocess.Popen[bytes]] = [part.start() for part in parts]
    assert [job.wait(timeout=600) for job in jobs] == [0, 0, 0], parts[0].log.read_text()
    names = [{block.name for block in load(part.target).blocks} for part in parts]
    assert all(names)
    assert sum(map(len, names)) == len(load(whole.target).blocks)
    assert main(["merge", *(str(part.target) for part in parts)]) == 0
    assert (tmp_path / "run.spectrum.h5").read_bytes() == whole.target.read_bytes()
    assert CHECKPOINT.name.removesuffix(".safetensors") in capsys.readouterr().out
