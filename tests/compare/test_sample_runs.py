"""The sample runs, small budgets: a table of 120 columns, an interval for every difference, signs, zeros."""

import json
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

import hessent
from hessent.__main__ import main
from hessent.report.comparison_tables import comparison_tables
from hessent.report.terminal import table_lines

SAMPLES = Path(hessent.__file__).parents[1] / "sample_checkpoints"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet18", "vit"])
def test_the_sample_runs_are_compared(architecture, tmp_path, monkeypatch, capfd):
    for run in ("sgd", "adam"):
        (tmp_path / run).mkdir()
        found = sorted(path for path in (SAMPLES / architecture / run).glob("step-*") if ".optim." not in path.name)
        for path in (found[0], found[-1]):
            shutil.copy(path, tmp_path / run)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "sgd", "adam", "--samples", "32", "--max-matvecs", "12", "--json"]) == 0
    out, told = capfd.readouterr()
    assert len(told.splitlines()) == 4
    document = json.loads(out)
    assert [len(run["checkpoints"]) for run in document["runs"]] == [2, 2]
    for entry in document["differences"]:
        known = None not in (entry["value"], entry["low"], entry["high"])
        assert known or entry["reason"] or None in (entry["low"], entry["high"])

    there, back, itself = (hessent.compare(*runs) for runs in (("sgd", "adam"), ("adam", "sgd"), ("sgd", "sgd")))
    for table in comparison_tables(there):
        assert max(cell_len(line.plain) for line in table_lines(table, 120)) <= 120
    for one, other in zip(there.differences, back.differences, strict=True):
        for name, found in one.measures.items():
            ends = (found.value, found.low, found.high)
            swapped = other.measures[name]
            opposite = (swapped.value, swapped.high, swapped.low)
            assert ends == tuple(None if end is None else -end for end in opposite)
    assert {
        (found.value, found.low, found.high)
        for difference in itself.differences
        for found in difference.measures.values()
        if found.value is not None
    } == {(0.0, 0.0, 0.0)}
