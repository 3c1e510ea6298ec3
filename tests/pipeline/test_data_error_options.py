"""`hessent spectrum` and `hessent.spectrum` with the options of the data's error, and with the trace alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import torch
from cases import cases, seeded
from small_run import trained_mlp

import hessent
from hessent.__main__ import main
from hessent.errors import UsageError
from hessent.pipeline import vector_places
from hessent.report.schema import load_schema
from hessent.spectra.model import Spectrum

CASE = next(case for case in cases() if case.name == "mlp, mse")
SMALL = ("--blocks", "layers.1.*=head", "--no-full")  # 130 parameters


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors"))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def measured(*words: object, capsys, checkpoint: Path) -> tuple[dict, Spectrum]:
    """The JSON block and the file of a run on the small block."""
    target = checkpoint.with_name(f"{len(list(checkpoint.parent.iterdir()))}.spectrum.h5")
    code, out, err = run(capsys, "spectrum", checkpoint, *SMALL, "--json", "-o", target, *words)
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    return document["spectra"][0]["blocks"][0], hessent.load(target)


def test_the_error_of_the_data_is_told_unless_it_is_not_wanted(checkpoint, capsys):
    with_error, file = measured(capsys=capsys, checkpoint=checkpoint)
    assert file.settings["data_groups"] == 4
    groups = file.block("head").groups
    assert groups.items.tolist() == [24] * 4
    assert groups.sampled_fraction == 0.0
    low, high = (with_error["measures"]["trace"]["population"][end] for end in ("low", "high"))
    assert low < with_error["measures"]["trace"]["value"] < high
    without, file = measured("--no-data-error", capsys=capsys, checkpoint=checkpoint)
    assert file.settings["data_groups"] is None
    assert file.block("head").groups is None
    assert "population" not in without["measures"]["trace"]
    assert without["matvecs"] == with_error["matvecs"]


def test_groups_and_population_are_as_asked_for(checkpoint, capsys):
    _, file = measured("--data-groups", 7, "--population", 384, capsys=capsys, checkpoint=checkpoint)
    groups = file.block("head").groups
    assert groups.items.sum() == 96
    assert sorted(set(groups.items.tolist())) == [13, 14]
    assert groups.sampled_fraction == 0.25
    assert file.settings["data_groups"] == 7
    assert file.settings["population"] == 384


def test_the_trace_alone_is_told_with_its_error_and_nothing_else(checkpoint, capsys):
    block, file = measured("--only", "trace", capsys=capsys, checkpoint=checkpoint)
    truth, _ = measured("--no-data-error", capsys=capsys, checkpoint=checkpoint)
    trace = block["measures"]["trace"]
    assert block["method"] == "hutch++"
    assert trace["low"] < trace["value"] < trace["high"]
    assert trace["value"] == pytest.approx(truth["measures"]["trace"]["value"], rel=0.1)
    assert block["measures"]["entropy_gap"]["value"] is None
    assert file.block("head").groups is None
    assert file.settings["only"] == "trace"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--population", 95), "96 samples of it are used"),
        (("--population", "many"), "--population"),
        (("--population", 500, "--no-data-error"), "--no-data-error"),
        (("--data-groups", 1), "--data-groups 1: must be at least 2"),
        (("--only", "gap"), "--only gap"),
        (("--only", "trace", "--probes", 4), "--probes 4: does not go with --only trace"),
        (("--only", "trace", "--steps", 9), "--steps 9: does not go with --only trace"),
        (("--only", "trace", "--method", "exact"), "--method exact: does not go with --only trace"),
        (("--max-matvecs", 3), "--max-matvecs 3: must be at least 10"),
    ],
)
def test_what_makes_no_sense_is_exit_2_and_a_sentence(checkpoint, capsys, words, expected):
    code, out, err = run(capsys, "spectrum", checkpoint, *SMALL, *words)
    assert code == 2
    assert expected in err
    assert out == ""
    assert not list(checkpoint.parent.glob("*.h5"))


def test_other_groups_or_populations_are_other_settings(checkpoint, capsys):
    assert run(capsys, "spectrum", checkpoint, *SMALL)[0] == 0
    code, _, err = run(capsys, "spectrum", checkpoint, *SMALL, "--data-groups", 5, "--population", 200)
    assert code == 2
    assert "data-groups: 4 in the file, 5 now" in err
    assert "population: None in the file, 200 now" in err
    code, _, err = run(capsys, "spectrum", checkpoint, *SMALL, "--only", "trace")
    assert code == 2
    assert "only: None in the file, trace now" in err


def test_fewer_samples_than_groups_are_said(checkpoint, capsys):
    code, _, err = run(capsys, "spectrum", checkpoint, *SMALL, "--samples", 3)
    assert code == 0
    assert "3 samples are divided into 3 groups instead of 4" in err


def test_a_dry_run_states_the_memory_of_vectors_and_groups(checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(vector_places, "lies_in_memory", lambda folder: True)  # no file for vectors
    documents = []
    for words in ((), ("--no-data-error",), ("--only", "trace"), ("--method", "lanczos", "--memory", "100K")):
        code, out, _ = run(capsys, "spectrum", checkpoint, "--dry-run", "--json", *words)
        assert code == 0
        documents.append(json.loads(out))
        jsonschema.validate(documents[-1], load_schema("hessent.preflight/1"))
    divided, undivided, trace, tight = documents
    assert divided["data_groups"] == 4
    assert undivided["data_groups"] is None
    by_name = {block["name"]: block for block in divided["blocks"]}
    # 64 unit vectors at a time, 4 groups of float32
    assert by_name["full"]["group_bytes"] == 910 * 64 * 4 * 4
    assert by_name["full"]["basis_bytes"] == (24 + 8 * 4) * 910**2
    for document in documents:
        memory = document["memory"]
        assert memory["expected"] == sum(memory[part] for part in ("graphs", "basis", "groups", "steps"))
    assert all(block["group_bytes"] == 0 for block in undivided["blocks"])
    assert {block["method"] for block in trace["blocks"]} == {"hutch++"}
    # 4 probes at a time
    assert [block["group_bytes"] for block in tight["blocks"]] == [4 * 4 * 4 * b["size"] for b in tight["blocks"]]
    assert divided["problems"] == []
    assert ["--memory" in problem for problem in tight["problems"]] == [True]
    # Where the memory is tight every sampled block keeps as few vectors as it can work with.
    assert [block["basis_bytes"] for block in tight["blocks"]] == [32 * 4 * b["size"] for b in tight["blocks"]]


def test_sampled_blocks_share_the_memory_they_are_allowed(checkpoint, capsys):
    _, out, _ = run(capsys, "spectrum", checkpoint, "--dry-run", "--json", "--method", "lanczos", "--memory", "2M")
    document = json.loads(out)
    room = 0.3 * document["memory"]["available"]
    kept = sum(block["basis_bytes"] for block in document["blocks"])
    assert 0.9 * room <= kept <= 1.01 * room


def problem() -> hessent.Problem:
    return hessent.Problem(seeded(CASE.model), CASE.loss, CASE.batches(4, 4, 1), dtype=torch.float64)


def test_the_python_face_takes_the_same_wishes(tmp_path):
    found = hessent.spectrum(problem(), full=False, data_groups=3, population=18, out=tmp_path / "a.spectrum.h5")
    for block in found.blocks:
        assert block.groups.items.tolist() == [3, 3, 3]
        assert block.groups.sampled_fraction == 0.5
    assert found.settings["data_groups"] == 3
    assert hessent.load(tmp_path / "a.spectrum.h5").measures() == found.measures()
    plain = hessent.spectrum(problem(), full=False, data_error=False)
    assert all(block.groups is None for block in plain.blocks)
    with pytest.raises(UsageError, match="out of range"):
        hessent.spectrum(problem(), only="trace", num_probes=3)
    with pytest.raises(UsageError, match="9 samples of it are used"):
        hessent.spectrum(problem(), population=8)
