"""Runs side by side: signs, zeros, rows by progress, fingerprints, formats; no torch for ready spectra."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import sample_spectra
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

import hessent
from hessent.__main__ import main
from hessent.errors import UsageError
from hessent.measures.written import MeasuredWriter
from hessent.report.comparison_blocks import block_tables
from hessent.report.comparison_tables import comparison_tables
from hessent.report.schema import load_schema
from hessent.report.selection import Selection, SpectrumEntry
from hessent.report.summary_document import summary_document
from hessent.report.terminal import table_lines


def sample(scale=1.0, step=400, seed=0, probes=5, **changes):
    blocks = (
        sample_spectra.exact_block("bn1", seed=1, scale=scale),
        sample_spectra.lanczos_block("conv1", seed=2, scale=scale),
        sample_spectra.lanczos_block("full", seed=probes, scale=3 * scale),
    )
    spectrum = sample_spectra.spectrum(blocks, seed=seed, **changes)
    checkpoint = dataclasses.replace(spectrum.checkpoint, step=step, sha256=f"{scale}-{step}")
    return dataclasses.replace(spectrum, checkpoint=checkpoint)


def as_json(spectrum):
    return json.loads(json.dumps(summary_document([SpectrumEntry("a", spectrum)], Selection())))


def numbers(comparison):
    return {
        (found.row.progress, found.block, name): (one.value, one.low, one.high)
        for found in comparison.differences
        for name, one in found.measures.items()
    }


@settings(max_examples=8, deadline=None)
@given(st.floats(0.5, 2.0), st.integers(3, 8), st.integers(0, 1), st.booleans())
def test_swapping_the_runs_flips_the_signs_exactly(scale, probes, seed, through_json):
    one, other = sample(), sample(scale, probes=probes, seed=seed)
    if through_json:
        one, other = as_json(one), as_json(other)
    there = numbers(hessent.compare(one, other, by_block=True))
    back = numbers(hessent.compare(other, one, by_block=True))
    assert there.keys() == back.keys()
    known = 0
    for key, (value, low, high) in there.items():
        opposite = tuple(None if number is None else -number for number in (value, high, low))
        assert back[key] == opposite, key
        known += value is not None
    assert known > 20


@pytest.mark.parametrize("form", [lambda spectrum: spectrum, as_json])
def test_a_run_against_itself_is_zero_with_zero_width(form):
    found = hessent.compare(form(sample()), form(sample()), by_block=True)
    known = [ends for ends in numbers(found).values() if ends[0] is not None]
    assert len(known) > 20
    assert set(known) == {(0.0, 0.0, 0.0)}
    assert all(one.paired for d in found.differences for one in d.measures.values() if one.value is not None)
    assert "are equal" in found.sentence
    assert "higher" not in found.sentence
    assert not found.warnings


def test_runs_are_matched_by_the_share_of_the_training():
    runs = [
        [sample(step=step) for step in (0, 4, 100, 200, 396)],
        [sample(1.1, step) for step in (0, 110, 200, 400)],
    ]
    found = hessent.compare(*runs)
    assert [row.progress for row in found.rows] == [0.0, 0.25, 0.5, 1.0]
    steps = [[own.step for own in row.checkpoints] for row in found.rows]
    assert steps == [[0, 0], [100, 110], [200, 200], [396, 400]]
    assert any("27.5 %" in text for text in found.warnings)
    assert {difference.block for difference in found.differences} == {"full"}


def test_runs_with_nothing_in_common_are_refused():
    with pytest.raises(UsageError, match="in common"):
        hessent.compare([sample(step=0), sample(step=1)], [sample(step=200), sample(step=390)])
    with pytest.raises(UsageError, match="two runs"):
        hessent.compare(sample())


def test_other_seeds_and_samples_are_told_and_not_paired():
    other = dataclasses.replace(sample(1.01), data=dataclasses.replace(sample().data, sha256="ef" * 32))
    for changed in (sample(1.01, seed=7), other):
        alike = hessent.compare(sample(), sample(1.01)).differences[0].measures["trace"]
        found = hessent.compare(sample(), changed)
        assert len(found.warnings) == 1
        trace = found.differences[0].measures["trace"]
        assert alike.paired
        assert not trace.paired
        assert trace.half_width > 3 * alike.half_width
        with pytest.raises(UsageError, match="more than their weights"):
            hessent.compare(sample(), changed, strict=True)
    loss = dataclasses.replace(sample().loss, name="mse")
    with pytest.raises(UsageError, match="loss"):
        hessent.compare(sample(), dataclasses.replace(sample(), loss=loss))


def test_the_sentence_says_what_the_intervals_support():
    near, far = hessent.compare(sample(), sample(probes=6)), hessent.compare(sample(), sample(2.0))
    assert "cannot be told apart" in near.sentence
    difference = far.differences[0].measures["lambda_max"]
    assert difference.low > 0.0
    assert "the largest eigenvalue of run (2) is higher by" in far.sentence
    assert "is lower by" in hessent.compare(sample(2.0), sample()).sentence


def test_documents_hold_to_their_schema():
    schema = load_schema("hessent.compare/1")
    for by_block in (False, True):
        document = hessent.compare(sample(), as_json(sample(1.1)), sample(0.9), by_block=by_block).to_json()
        jsonschema.validate(document, schema)
        json.dumps(document, allow_nan=False)
        assert len(document["runs"]) == 3
        assert ("heterogeneity" in document) == by_block
        assert all("reason" in entry for entry in document["differences"] if entry["value"] is None)


def test_tables_fit_and_the_strongest_block_comes_first():
    plain, changed = sample(), sample(1.0, probes=9)
    found = hessent.compare([plain] * 1, [changed] * 1)
    for table in comparison_tables(found):
        grid = [line.plain for line in table_lines(table, 120)]
        assert max(cell_len(line) for line in grid) <= 120
    (table,) = block_tables(hessent.compare(plain, changed, by_block=True))
    names = [row[3] for row in table.rows]
    assert names[0] == "full"  # the only block that is another
    assert set(names) == {"bn1", "conv1", "full"}


def grouped(scale=1.0, **changes):
    block = dataclasses.replace(sample_spectra.grouped_lanczos_block(seed=3, scale=scale), name="full")
    return sample_spectra.spectrum((block,), **changes)


def test_what_holds_for_the_population_has_a_table_of_its_own_for_people():
    found = hessent.compare(grouped(), grouped(1.5))
    *_, population = comparison_tables(found)
    assert population.audience == "people"
    assert [column.key for column in population.columns[3:]] == ["trace", "abs_trace", "lambda_max", "entropy_gap"]
    (row,) = population.rows
    (difference,) = found.differences
    assert row[3] == difference.measures["trace"].population
    assert row[3].high - row[3].low > 2 * difference.measures["trace"].half_width
    assert len(comparison_tables(hessent.compare(sample(), sample(1.5)))) == 2  # no groups of the data were kept
    *_, chosen = comparison_tables(hessent.compare(grouped(), grouped(1.5), measures=("trace",)))
    assert [column.key for column in chosen.columns[3:]] == ["trace"]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name, scale in (("sgd", 1.0), ("adam", 1.3)):
        (tmp_path / name).mkdir()
        for step in (0, 400):
            MeasuredWriter().write(tmp_path / name / f"step-{step:06d}.spectrum.h5", sample(scale, step))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_in_all_its_views(folders, capsys):
    assert main(["compare", "sgd", "adam"]) == 0
    out = capsys.readouterr().out
    assert "adam − sgd" in out
    assert max(map(len, (line for line in out.splitlines() if line.startswith(("at", "0 %", "100 %"))))) <= 120
    assert main(["compare", "sgd", "adam", "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), load_schema("hessent.compare/1"))
    assert main(["compare", "sgd", "adam", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4 + 2
    assert main(["compare", "sgd", "adam", "--blocks"]) == 0
    assert "conv1" in capsys.readouterr().out
    assert main(["compare", "sgd", "adam", "--paper"]) == 0
    out = capsys.readouterr().out
    assert [out.count(f"Table {number} of the paper") for number in (2, 3, 4, 5)] == [1] * 4
    assert "0.2838" in out


@pytest.mark.parametrize(
    "words",
    [["sgd"], ["sgd", "nowhere"], ["sgd", "adam", "--measure", "x"], ["sgd", "adam", "--block", "x"]],
)
def test_mistakes_end_with_2(folders, capsys, words):
    assert main(["compare", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "None" not in told


def test_ready_spectra_load_no_torch(folders):
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from hessent.__main__ import main\n"
        "code = main(sys.argv[1:]); sys.exit(code or ('torch' in sys.modules and 9))"
    )
    root = str(Path(hessent.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", script, root, "compare", "sgd", "adam"], capture_output=True)
    assert done.returncode == 0, done.stderr
