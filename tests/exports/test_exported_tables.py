"""`hessent export` to files: the same numbers as the summary, names that do no harm, and files that are whole."""

import csv
import dataclasses
import io
import json

import jsonschema
import numpy as np
import pytest
import sample_spectra

from hessent.__main__ import main
from hessent.measures.registry import compute_measures, error_budget, measure_names
from hessent.report.exports.sources import read_sources, run_names
from hessent.report.exports.tracked_runs import tracked_runs
from hessent.report.schema import load_schema
from hessent.report.selection import Selection
from hessent.spectra.hdf5_writer import write_spectrum

HOSTILE = '=cmd("a,b")\n"c"'


def write(path, sample):
    path.parent.mkdir(exist_ok=True)
    measures = {block.name: compute_measures(block) for block in sample.blocks}
    budgets = {block.name: error_budget(block) for block in sample.blocks}
    write_spectrum(path, sample, measures=measures, budgets=budgets)


def at_step(step, seed=0, **changes):
    sample = sample_spectra.spectrum(
        (sample_spectra.grouped_exact_block(seed=seed), sample_spectra.lanczos_block("full", seed=seed)), **changes
    )
    return dataclasses.replace(sample, checkpoint=dataclasses.replace(sample.checkpoint, step=step))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path / "sgd" / "checkpoint-1000.spectrum.h5", at_step(1000, seed=1))
    write(tmp_path / "sgd" / "checkpoint-200.spectrum.h5", at_step(200, seed=2))
    odd = (sample_spectra.exact_block(HOSTILE), sample_spectra.trace_block("layer,1"))
    write(tmp_path / "odd.h5", sample_spectra.spectrum(odd))
    write(tmp_path / "trace.h5", sample_spectra.spectrum((sample_spectra.trace_block("full"),)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capfd, *words):
    assert main([*words]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    return captured.out


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def refused(capfd, *words):
    assert main(["export", *words]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_json_is_the_document_of_the_summary(folder, capfd):
    files = ["sgd/checkpoint-200.spectrum.h5", "sgd/checkpoint-1000.spectrum.h5", "odd.h5"]
    expected = printed(capfd, "summary", *files, "--json")
    assert printed(capfd, "export", "sgd", "odd.h5", "-o", "-", "--to", "json") == expected
    assert main(["export", "sgd", "odd.h5", "-o", "out.json", "-q"]) == 0
    assert (folder / "out.json").read_text() == expected


def test_every_row_holds_the_number_of_the_summary_to_the_last_digit(folder, capfd):
    document = json.loads(printed(capfd, "summary", "sgd/checkpoint-200.spectrum.h5", "trace.h5", "--json"))
    rows = rows_of(printed(capfd, "export", "sgd/checkpoint-200.spectrum.h5", "trace.h5", "-o", "-"))
    expected = {
        (spectrum["file"], block["name"], name): (spectrum, block, number)
        for spectrum in document["spectra"]
        for block in spectrum["blocks"]
        for name, number in block["measures"].items()
    }
    assert [(row["file"], row["block"], row["measure"]) for row in rows] == list(expected)
    for row, (spectrum, block, number) in zip(rows, expected.values(), strict=True):
        population = number.get("population", {})
        for column, known in (
            ("value", number["value"]),
            ("low", number["low"]),
            ("high", number["high"]),
            ("population_value", population.get("value")),
            ("population_low", population.get("low")),
            ("population_high", population.get("high")),
            ("size", block["size"]),
            ("matvecs", block["matvecs"]),
            ("step", spectrum["checkpoint"]["step"]),
            ("progress", spectrum["checkpoint"]["progress"]),
            ("loss_value", spectrum["loss"]["value"]),
        ):
            assert row[column] == ("" if known is None else repr(known)), column
        assert row["exact"] == str(number["exact"]).lower()
        assert row["checkpoint_sha256"] == spectrum["checkpoint"]["sha256"]
        assert row["alpha"] == ("1.0" if row["measure"] in ("entropy", "entropy_gap", "effective_rank") else "")
    assert any(row["value"] == "" for row in rows)
    assert any(row["population_value"] != "" for row in rows)


def test_measures_blocks_and_order_are_chosen_as_in_the_summary(folder, capfd):
    words = ["sgd", "--block", "full", "-m", "entropy_gap", "-m", "trace", "--alpha", "2"]
    rows = rows_of(printed(capfd, "export", *words, "-o", "-"))
    assert [(row["step"], row["block"], row["measure"]) for row in rows] == [
        (step, "full", name) for step in ("200", "1000") for name in ("entropy_gap", "trace")
    ]
    known = compute_measures(at_step(200, seed=2).block("full"), alpha=2.0)["entropy_gap"]
    assert float(rows[0]["value"]) == known.value
    assert [row["alpha"] for row in rows] == ["2.0", ""] * 2
    assert "did you mean 'trace'" in refused(capfd, "sgd", "-m", "tracee", "-o", "a.csv")
    assert "matches no block" in refused(capfd, "sgd", "--block", "nothing", "-o", "a.csv")
    assert not (folder / "a.csv").exists()


def test_a_folder_and_a_file_in_it_give_each_file_once_by_step(folder, capfd):
    text = printed(capfd, "export", "sgd", "./sgd/checkpoint-200.spectrum.h5", "-o", "-", "-m", "trace")
    assert [row["step"] for row in rows_of(text)] == ["200", "200", "1000", "1000"]
    assert {row["run"] for row in rows_of(text)} == {"sgd"}


def test_a_name_that_a_spreadsheet_would_run_is_text_in_csv_and_itself_in_json(folder, capfd):
    text = printed(capfd, "export", "odd.h5", "-o", "-", "-m", "trace")
    assert len(text.splitlines()) == 3
    assert [row["block"] for row in rows_of(text)] == ['\'=cmd("a,b")\\x0a"c"', "layer,1"]
    document = json.loads(printed(capfd, "export", "odd.h5", "-o", "-", "--to", "json"))
    assert document["spectra"][0]["blocks"][0]["name"] == HOSTILE


def test_weights_of_a_block_sum_to_one_and_carry_its_trace(folder, capfd):
    document = json.loads(printed(capfd, "export", "sgd", "-o", "-", "--to", "json", "--what", "eigenvalues"))
    jsonschema.validate(document, load_schema("hessent.eigenvalues/1"))
    table = printed(capfd, "export", "sgd", "-o", "-", "--what", "eigenvalues")
    assert [float(row["eigenvalue"]) for row in rows_of(table)] == [row["eigenvalue"] for row in document["rows"]]
    for step, seed in ((200, 2), (1000, 1)):
        for block in at_step(step, seed=seed).blocks:
            own = [row for row in document["rows"] if (row["step"], row["block"]) == (step, block.name)]
            weights, values = np.array([(row["weight"], row["eigenvalue"]) for row in own]).T
            assert weights.sum() == pytest.approx(1.0, rel=1e-12)
            trace = compute_measures(block)["trace"]
            if block.eigenvalues is not None:
                assert values == pytest.approx(block.eigenvalues, rel=0)
                assert block.size * weights @ values == pytest.approx(trace.value, rel=1e-12)
            else:
                assert trace.low < block.size * weights @ values < trace.high
                assert sum(row["kind"] == "outlier" for row in own) == len(block.outliers.values)
                assert {row["probe"] for row in own} == {None, 0, 1, 2, 3}


def test_more_eigenvalues_than_a_table_should_have_are_refused(folder, capfd, monkeypatch):
    monkeypatch.setattr("hessent.report.exports.eigenvalue_rows.MOST_ROWS", 100)
    said = refused(capfd, "sgd", "-o", "a.csv", "--what", "eigenvalues")
    assert "128 eigenvalues, 64 of them of block 'layer1.0.bn1'" in said
    assert main(["export", "sgd", "-o", "a.csv", "--what", "eigenvalues", "--block", "full", "-q"]) == 0


def test_traces_have_no_eigenvalues(folder, capfd):
    assert "the trace alone" in refused(capfd, "trace.h5", "-o", "a.csv", "--what", "eigenvalues")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["odd.h5", "-o", "a.xlsx"], "ends in .csv, .json, .parquet; or --to csv, json, parquet, tensorboard"),
        (["odd.h5", "-o", "a.csv", "--to", "json"], "two formats at once"),
        (["odd.h5", "-o", "-", "--to", "parquet"], "csv or json"),
        (["odd.h5", "-o", "tb", "--to", "tensorboard", "--what", "eigenvalues"], "measures alone"),
        (["odd.h5", "-o", "a.csv", "--what", "eigenvalues", "-m", "trace"], "--measure and --alpha"),
        (["odd.h5", "-o", "a.csv", "--project", "mine"], "--project says nothing about csv"),
        (["nowhere.h5", "-o", "a.csv"], "nowhere.h5: no such file"),
        (["empty", "-o", "a.csv"], "no spectra in this folder"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(folder, capfd, words, said):
    (folder / "empty").mkdir()
    (folder / "a.csv").write_text("mine")
    assert said in refused(capfd, *words)
    assert (folder / "a.csv").read_text() == "mine"
    assert not (folder / "tb").exists()


def test_made_up_data_and_unfinished_runs_are_told(folder, capfd):
    sample = at_step(3, complete=False)
    write(folder / "b.h5", dataclasses.replace(sample, data=dataclasses.replace(sample.data, synthetic=True)))
    assert main(["export", "b.h5", "-o", "-"]) == 0
    captured = capfd.readouterr()
    assert "made-up data" in captured.err
    assert "INCOMPLETE" in captured.err
    assert {(row["synthetic"], row["complete"]) for row in rows_of(captured.out)} == {("true", "false")}


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["-o", "a.parquet"], "pyarrow", "parquet"),
        (["-o", "tb", "--to", "tensorboard"], "tensorboard", "tensorboard"),
        (["-o", "runs", "--to", "mlflow"], "mlflow", "mlflow"),
        (["-o", "runs", "--to", "wandb"], "wandb", "wandb"),
    ],
)
def test_without_its_package_a_target_says_what_to_install(folder, capfd, monkeypatch, words, package, extra):
    import importlib

    load = importlib.import_module

    def refuse(name, *rest, **named):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(name, name=package)
        return load(name, *rest, **named)

    monkeypatch.setattr(importlib, "import_module", refuse)
    assert f"pip install 'hessent[{extra}]'" in refused(capfd, "odd.h5", *words)
    assert not (folder / words[1]).exists()


def test_parquet_holds_typed_columns_and_the_names_as_they_are(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert main(["export", "odd.h5", "sgd", "-o", "a.parquet", "-q"]) == 0
    assert main(["export", "odd.h5", "sgd", "-o", "a.csv", "-q"]) == 0
    table = parquet.read_table(folder / "a.parquet")
    assert table.schema.metadata[b"hessent"] == b"hessent.measures/1"
    found, expected = table.to_pylist(), rows_of((folder / "a.csv").read_text())
    assert found[0]["block"] == HOSTILE
    assert len(found) == len(expected) == (2 + 4) * len(measure_names())
    for own, other in zip(found, expected, strict=True):
        assert type(own["step"]) is int
        assert type(own["exact"]) is bool
        for name in ("value", "low", "high", "population_low"):
            assert own[name] == (float(other[name]) if other[name] else None)
    first = (folder / "a.parquet").read_bytes()
    assert main(["export", "odd.h5", "sgd", "-o", "a.parquet", "-q"]) == 0
    assert (folder / "a.parquet").read_bytes() == first


def trained_by(optimizer, step, **changes):
    sample = at_step(step, **changes)
    return dataclasses.replace(sample, checkpoint=dataclasses.replace(sample.checkpoint, optimizer=optimizer))


def test_trainings_in_one_folder_are_runs_of_their_own(folder, capfd):
    sgd, adam = {"name": "sgd", "lr": 0.1}, {"name": "adam", "lr": 0.1}
    for name, optimizer, step in (("b", sgd, 9), ("a", sgd, 10), ("c", adam, 9), ("..", {"name": "lion"}, 9)):
        write(folder / "mixed" / f"{name}.spectrum.h5", trained_by(optimizer, step))
    for words in ([], ["--what", "eigenvalues"]):
        rows = rows_of(printed(capfd, "export", "mixed", "sgd", "-o", "-", *words))
        found = {row["file"]: row["run"] for row in rows}
        assert {file: run for file, run in found.items() if file.startswith("mixed")} == {
            "mixed/a.spectrum.h5": "mixed/b",
            "mixed/b.spectrum.h5": "mixed/b",
            "mixed/c.spectrum.h5": "mixed/c",
            "mixed/...spectrum.h5": "mixed/...spectrum.h5",
        }
        assert {run for file, run in found.items() if file.startswith("sgd")} == {"sgd"}
    again = printed(capfd, "export", "mixed/a.spectrum.h5", "mixed/b.spectrum.h5", "-o", "-")
    assert {row["run"] for row in rows_of(again)} == {"mixed"}


def test_trackers_get_trainings_of_one_folder_apart(folder):
    for name in ("sgd", "adam"):
        write(folder / "mixed" / f"{name}-9.spectrum.h5", trained_by({"name": name}, 9))
    runs = tracked_runs(read_sources(["mixed"]), Selection(("trace",)))
    assert {run.name: run.facts["optimizer"] for run in runs} == {
        "mixed/sgd-9": "name=sgd",
        "mixed/adam-9": "name=adam",
    }


def test_the_size_of_the_mini_batches_stands_beside_their_measures(folder, capfd):
    block = sample_spectra.with_gradient(sample_spectra.exact_block("full"))
    write(folder / "g.h5", sample_spectra.spectrum((block, sample_spectra.exact_block())))
    rows = rows_of(printed(capfd, "export", "g.h5", "-o", "-"))
    sizes = {(row["block"], row["measure"]): row["mini_batch_size"] for row in rows if row["mini_batch_size"]}
    assert sizes == {("full", "batch_gradient_entropy"): "64", ("full", "batch_gradient_gap"): "64"}
    (run,) = tracked_runs(read_sources(["g.h5"]), Selection(("trace",)))
    assert run.facts["mini_batch_size"] == "64"


def test_runs_are_named_by_as_little_of_their_path_as_tells_them_apart():
    assert run_names(["/a/sgd", "/a/adam"]) == {"/a/sgd": "sgd", "/a/adam": "adam"}
    assert run_names(["/a/sgd", "/b/sgd"]) == {"/a/sgd": "a/sgd", "/b/sgd": "b/sgd"}
    assert run_names(["/sgd", "/b/sgd"]) == {"/sgd": "sgd", "/b/sgd": "b/sgd"}
    assert run_names(["/"]) == {"/": "run"}
