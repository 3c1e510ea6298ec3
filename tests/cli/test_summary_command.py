"""`hessent summary` on files: four formats, one set of numbers."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import sample_spectra

import hessent
from hessent.__main__ import main
from hessent.measures.registry import compute_measures, error_budget
from hessent.report.schema import load_schema
from hessent.spectra.hdf5_writer import write_spectrum

FILE = "a.spectrum.h5"
ROOT = str(Path(hessent.__file__).parents[1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    sample = sample_spectra.spectrum()
    measures = {block.name: compute_measures(block) for block in sample.blocks}
    budgets = {block.name: error_budget(block) for block in sample.blocks}
    write_spectrum(tmp_path / FILE, sample, measures=measures, budgets=budgets)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capfd, *words):
    assert main(["summary", *words]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    return captured.out


def test_the_table_names_files_as_typed_and_has_no_colour(folder, capfd):
    text = printed(capfd, FILE)
    assert text.startswith(f"spectrum    {FILE}\ncheckpoint  runs/adam/step-000400.safetensors\n")
    assert "\x1b" not in text
    assert printed(capfd, f"./{FILE}").startswith(f"spectrum    ./{FILE}\n")


def test_several_files_follow_each_other(folder, capfd):
    text = printed(capfd, FILE, FILE)
    assert text.count("spectrum    ") == 2
    assert "\n\nspectrum" in text


def test_json_is_one_valid_document_with_the_same_numbers(folder, capfd):
    document = json.loads(printed(capfd, FILE, FILE, "--json"))
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    assert len(document["spectra"]) == 2
    expected = compute_measures(sample_spectra.spectrum().blocks[1])["entropy_gap"]
    assert document["spectra"][0]["blocks"][1]["measures"]["entropy_gap"] == expected.to_json()
    assert printed(capfd, FILE, "--format", "json") == printed(capfd, FILE, "--json")


def test_csv_and_markdown_hold_every_block(folder, capfd):
    rows = list(csv.DictReader(io.StringIO(printed(capfd, FILE, FILE, "--format", "csv"))))
    assert [row["block"] for row in rows] == ["layer1.0.bn1", "layer1.0.conv1", "full"] * 2
    assert "condition_damped_high" in rows[0]
    text = printed(capfd, FILE, "--format", "markdown")
    assert "| `layer1.0.conv1` |" in text


def test_options_select_blocks_measures_order_and_alpha(folder, capfd):
    text = printed(capfd, FILE, "--block", "layer1.*", "--measure", "entropy", "--sort", "size", "--alpha", "2")
    rows = [line for line in text.splitlines() if line.startswith(("layer1", "full"))]
    assert [row.split()[0] for row in rows] == ["layer1.0.conv1", "layer1.0.bn1"]
    assert "entropy α=2" in text
    assert "λ_max" not in text
    assert "entropy α=∞" in printed(capfd, FILE, "-m", "entropy", "--alpha", "inf")


def test_a_wrong_measure_is_two_even_for_json(folder, capfd):
    assert main(["summary", FILE, "--json", "--measure", "tracee"]) == 2
    assert "did you mean 'trace'" in capfd.readouterr().err


def terminal_run(folder, words, columns, **environment):
    """Run on a pseudo-terminal of a given width and return what it shows."""
    import pty

    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hessent", *words],
        cwd=folder,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "PYTHONPATH": ROOT, **environment},
    )
    os.close(terminal)
    shown = bytearray()
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(controller)
    assert process.wait() == 0
    return shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_colour_and_its_width_is_kept(folder, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    wide = terminal_run(folder, ["summary", FILE], 200)
    assert "\x1b[1m" in wide
    assert "Too narrow" not in wide
    assert "Too narrow for: " in terminal_run(folder, ["summary", FILE], 60)
    assert "\x1b[3" not in terminal_run(folder, ["summary", FILE], 200, NO_COLOR="1")
