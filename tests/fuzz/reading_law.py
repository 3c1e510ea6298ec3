"""The law of reading, and the machinery that holds a fuzzed case against it.

Whatever a file holds: either it is taken, or it is refused by an error of the input (exit code 2) whose message can
be printed and names the file; within 5 seconds of the processor and 512 MiB beyond what the process takes anyway;
and nothing is written, nothing is read outside the folder, no program is started.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

MOST_SECONDS = 5.0
MOST_BYTES = 512 * 2**20
LONGEST_MESSAGE = 20_000
PATIENCE = 60.0  # seconds; the worker ends itself before

Example = TypeVar("Example")


@dataclass(frozen=True)
class Case:
    """Files in a folder of their own, and what is done with them.

    Attributes
    ----------
    task : str
        "checkpoint", "optimizer", "dataset" or "command" (see `reading_worker.py`).
    arguments : tuple of str
        In which "{folder}" stands for the folder.
    files : mapping of str to bytes
        Relative path to content.
    codes : tuple of int
        Exit codes that the law allows.
    named : tuple of str
        What a message may name instead of a file: a value, or the option that it stands for.
    """

    task: str
    arguments: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    codes: tuple[int, ...] = (0, 2)
    named: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show the beginning of long contents only: the failing case is kept as a file."""
        sizes = {
            name: content if len(content) < 300 else f"{len(content)} bytes" for name, content in self.files.items()
        }
        return f"Case({self.task!r}, {self.arguments!r}, {sizes!r})"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Do the same for hypothesis."""
        printer.text(repr(self))


class Reader:
    """A worker process, started when it is needed and again when a case has ended it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._said = root / "worker.txt"
        self._process: subprocess.Popen[str] | None = None
        self.codes: Counter[int] = Counter()
        (root / "outside.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        (root / "outside.py").write_text("raise SystemExit('code of a file was run')\n")

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def outcome(self, case: Case) -> dict[str, Any]:
        """Lay the files out, let the worker read them and return its answer; a dead worker is an answer, too."""
        folder = self.root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in case.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        worker = self._worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        arguments = [argument.replace("{folder}", str(folder)) for argument in case.arguments]
        worker.stdin.write(json.dumps({"task": case.task, "arguments": arguments}) + "\n")
        worker.stdin.flush()
        ready, _, _ = select.select([worker.stdout], [], [], PATIENCE)
        line = worker.stdout.readline() if ready else ""
        if not line:
            self.close()
            return {"dead": self._said.read_text(errors="replace")[-3000:] or "it hung"}
        answer: dict[str, Any] = json.loads(line)
        if {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} != set(case.files):
            answer["seen"].append("files were written or removed")
        return answer

    def _worker(self) -> subprocess.Popen[str]:
        if self._process is None:
            script = Path(__file__).with_name("reading_worker.py")
            cache = self.root.parent / "cache"
            cache.mkdir(exist_ok=True)
            places = dict.fromkeys(("HESSENT_CACHE", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR"), str(cache))
            plain = {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
            with self._said.open("w") as said:
                self._process = subprocess.Popen(
                    [sys.executable, "-B", str(script), str(self.root)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                    cwd=self.root,
                    env={**os.environ, **places, **plain},
                )
        return self._process

    def breach(self, case: Case) -> str | None:
        """Say how a case breaks the law, or None."""
        answer = self.outcome(case)
        if "dead" in answer:
            return f"the reading process died: {answer['dead']}"
        text = answer["text"]
        self.codes[answer["code"]] += 1
        if answer["code"] not in case.codes:
            return f"exit code {answer['code']}: {text}"
        seen = [what for what in answer["seen"] if not _was_asked_for(what, case)]
        if seen:
            return f"it {'; '.join(seen)}"
        if answer["seconds"] > MOST_SECONDS:
            return f"it took {answer['seconds']:.1f} s: {text}"
        if answer["bytes"] > MOST_BYTES:
            return f"it took {answer['bytes'] / 2**20:.0f} MiB: {text}"
        # A check that fails (1) is an answer, not an error.
        return None if answer["code"] in (0, 1) else _flaw_of(text, case)


def _was_asked_for(what: str, case: Case) -> bool:
    """Whether a file outside was opened because the user names it: typed, or in his own configuration.

    Beside a checkpoint that he names, its spectrum and the journal of that are looked for, too.
    """
    if not what.startswith(_OUTSIDE):
        return False
    own = _own_words(case)
    for part in Path(what.removeprefix(_OUTSIDE)).parts:
        stem, dot, _ = part.partition(".spectrum.h5")
        if f"../{part}" in own or (dot and f"../{stem}.safetensors" in own):
            return True
    return False


def _own_words(case: Case) -> str:
    """What the user typed and wrote into his own configuration."""
    return "\n".join([*case.arguments, _configuration(case)])


def _configuration(case: Case) -> str:
    """The user's own configuration: what he writes there is as good as typed."""
    own = (case.files.get(name, b"") for name in ("hessent.toml", "pyproject.toml"))
    return "\n".join(content.decode(errors="replace") for content in own)


def _flaw_of(message: str, case: Case) -> str | None:
    lines = message.removesuffix("\n").split("\n")
    if any(unicodedata.category(letter) in _UNSEEN for line in lines for letter in line):
        return f"the message cannot be printed: {message!r}"
    if case.task != "command" and not all(line.startswith("  ") for line in lines[1:]):
        return f"a line of the message is not one of ours: {message!r}"
    if len(message) > LONGEST_MESSAGE:
        return f"the message has {len(message):,} characters"
    names = {"outside.safetensors", *(Path(name).name for name in case.files)} | {
        word.split("{folder}")[-1] for word in case.arguments
    }
    told = names | set(case.named) | set(_STRINGS.findall(_configuration(case)))
    if case.files and not any(name and name in message for name in told):
        return f"the message does not name the file: {message}"
    return None


_OUTSIDE = "opened outside its folder: "
_STRINGS = re.compile(r'"([^"\n]{3,})"')  # values of a configuration that a message may name instead of the file
_UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def keep_the_law(reader: Reader, cases: SearchStrategy[Case], number: int) -> dict[int, int]:
    """Hold `number` cases against the law, the same ones on every run; return how often each exit code came."""
    reader.codes.clear()

    def check(case: Case) -> None:
        breach = reader.breach(case)
        assert breach is None, breach

    _examine(cases, number, check)
    return dict(reader.codes)


def _examine(examples: SearchStrategy[Example], number: int, check: Callable[[Example], None]) -> None:
    @settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(examples)
    def property_of_reading(example: Example) -> None:
        check(example)

    property_of_reading()
