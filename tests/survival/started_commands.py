"""`hessent spectrum` as a process of its own, on a shipped checkpoint, to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "sample_checkpoints" / "resnet18" / "adam" / "step-001352.safetensors"

# Four blocks, of which one is exact: some seconds of products.
_BLOCKS = ("layer1.*=one", "layer2.*=two", "layer3.*=three", "fc.*=head")
QUICK = ("--no-full", "--samples=16", "--max-matvecs=80", *(f"--blocks={block}" for block in _BLOCKS))


class Command:
    """A measurement of the sample ResNet18 into one file.

    Parameters
    ----------
    target : Path
        The file.
    words : str
        Options.
    """

    def __init__(self, target: Path, *words: str) -> None:
        self.target = target
        self.words = [
            *(sys.executable, "-m", "hessent", "spectrum", str(CHECKPOINT)),
            *("-o", str(target), "--engine", "retained", "--batch-size", "16", *words),
        ]
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "HESSENT_CACHE": str(target.parent / "cache")}

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, and wait for nothing."""
        with open(self.log, "ab") as log:
            return subprocess.Popen(self.words, env=self.environment, stdout=log, stderr=log)

    def finish(self) -> None:
        """Run it to its end."""
        code = self.start().wait(timeout=3600)
        assert code == 0, self.log.read_text()[-3000:]

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.target.with_name(self.target.name + ".log")

    @property
    def journal(self) -> Path:
        """Where it keeps what it goes on from."""
        return self.target.with_name(self.target.name + ".partial")

    def last_saved(self) -> float:
        """Wall clock of the newest file that it goes on from, or of the result; 0 if there is none."""
        files = [path for path in (self.target, *self.journal.rglob("*")) if path.is_file()]
        return max((path.stat().st_mtime for path in files), default=0.0)


def kill(process: subprocess.Popen[bytes], after: float) -> bool:
    """Kill a process after some seconds; False if it had ended by then."""
    try:
        process.wait(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


def seconds_of(command: Command) -> float:
    """Run a command to its end and return the seconds it took."""
    begin = time.monotonic()
    command.finish()
    return time.monotonic() - begin
