"""A process is told from an earlier one of the same number, from those of another boot and of another machine."""

import dataclasses
import subprocess
import sys

import pytest

from hessent.storage.process_mark import ProcessMark

OWN = ProcessMark.own()


def test_a_mark_comes_back():
    assert ProcessMark.from_bytes(OWN.to_bytes()) == OWN


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", OWN.to_bytes().replace(b'"pid": ', b'"pid": "')])
def test_anything_else_is_refused(content):
    with pytest.raises(ValueError):
        ProcessMark.from_bytes(content)


def test_whether_it_runs():
    boot, _, names = OWN.system.partition(" ")
    for changes, runs in [
        ({}, True),
        ({"start": OWN.start + "1"}, False),
        ({"host": OWN.host + "-other"}, None),
        ({"system": f"another-boot {names}"}, False),
        ({"system": f"{boot} pid:[1]"}, None),
    ]:
        assert dataclasses.replace(OWN, **changes).runs() is runs, changes


def test_a_process_that_ended_does_not_run():
    script = "from hessent.storage.process_mark import ProcessMark; print(ProcessMark.own().to_bytes().decode())"
    mark = ProcessMark.from_bytes(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE).stdout)
    assert mark.runs() is False
    assert dataclasses.replace(mark, start="").runs() is False
