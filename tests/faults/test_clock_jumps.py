"""The wall clock may jump: nothing but the text of a message hangs on it."""

from __future__ import annotations

import ast
import shutil
import time
from pathlib import Path

import pytest
from small_run import trained_mlp

import hessent
from hessent.__main__ import main

# Who may look at the calendar: the mark of a process says since when it is at work, for people to read.
TELLING_TIME = {"process_mark.py"}


def wall_clocks(tree: ast.AST) -> list[str]:
    """Every use of a clock that somebody can set."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.append(f"{node.value.id}.{node.attr}")
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
            found.append("datetime")
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"time.{alias.name}" for alias in node.names]
    return [
        use for use in found if use in ("time.time", "time.time_ns", "time.localtime", "time.gmtime", "datetime")
    ]


def test_no_decision_is_taken_by_a_clock_that_somebody_can_set():
    sources = Path(hessent.__file__).parent.rglob("*.py")
    users = {path.name for path in sources if wall_clocks(ast.parse(path.read_text(encoding="utf-8")))}
    assert users <= TELLING_TIME
    assert wall_clocks(ast.parse("import time\nprint(time.time())"))


@pytest.mark.parametrize("hours", [24, -24])
def test_a_clock_that_jumps_by_a_day_at_every_look_changes_nothing(tmp_path, monkeypatch, hours):
    shutil.copy(trained_mlp(), tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)
    words = ["spectrum", "a.safetensors", "--method", "lanczos", "--max-matvecs", "24", "--max-time", "1h", "-q"]
    assert main([*words, "-o", "before.spectrum.h5"]) == 0
    looks = []
    real = time.time

    def jumping():
        looks.append(1)
        return real() + hours * 3600 * len(looks)

    monkeypatch.setattr(time, "time", jumping)
    assert main([*words, "-o", "after.spectrum.h5"]) == 0
    assert Path("before.spectrum.h5").read_bytes() == Path("after.spectrum.h5").read_bytes()
