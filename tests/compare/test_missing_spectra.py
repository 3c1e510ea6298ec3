"""Spectra beside checkpoints: measured where missing, taken where they are still right, told where they are not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import save_file
from small_runs import QUICK, save_run, save_step

import hessent
from hessent.__main__ import main
from hessent.checkpoint.fingerprint import fingerprint
from hessent.checkpoint.reader import open_checkpoint
from hessent.cli.run_progress import RunDisplay
from hessent.errors import UsageError
from hessent.report.schema import load_schema
from hessent.spectra.hdf5_reader import load

ROOT = str(Path(hessent.__file__).parents[1])


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs without spectra, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("sgd", "adam")):
        save_run(tmp_path / name, seed)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed, name in enumerate(("sgd", "adam")):
            save_run(folder / name, seed)
        assert compare(*QUICK, "-q") == 0
    return folder


@pytest.fixture
def measured(finished, tmp_path, monkeypatch, capfd):
    """The same runs with all their spectra."""
    for name in ("sgd", "adam"):
        shutil.copytree(finished / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    return tmp_path


def compare(*words):
    return main(["compare", "sgd", "adam", *words])


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*.spectrum.h5")}


def test_missing_spectra_are_measured_once_and_then_taken_without_torch(measured):
    before = written(measured)
    assert len(before) == 4
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from hessent.__main__ import main\n"
        "code = main(sys.argv[1:]); sys.exit(code or ('torch' in sys.modules and 9))"
    )
    words = (*QUICK, "--seed", "0", "--arch", "mlp", "--data", "digits", "--strict")
    call = [sys.executable, "-c", script, ROOT, "compare", "sgd", "adam", "--json", *words]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert written(measured) == before


def test_other_settings_than_the_usual_are_no_reason_where_none_were_typed(measured):
    before = written(measured)
    assert compare() == 0
    assert written(measured) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_stops_and_the_same_command_goes_on(runs, finished, capfd, monkeypatch, number, code):
    begin = RunDisplay.begin

    def stopped_at_the_second(display, checkpoint, why):
        begin(display, checkpoint, why)
        if checkpoint.endswith("step-000040.safetensors"):
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(RunDisplay, "begin", stopped_at_the_second)
        assert compare(*QUICK) == code
    out, told = capfd.readouterr()
    assert out == ""
    assert "1 of 4 checkpoints are measured" in told
    assert (runs / "sgd" / "step-000000.spectrum.h5").is_file()
    assert not list(runs.glob("adam/*.h5"))

    assert compare(*QUICK) == 0
    told = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["measuring 1 of 3", "measuring 2 of 3", "measuring 3 of 3"]
    assert "sgd/step-000040.safetensors" in told[0]
    assert " left" in told[1]
    assert not list(runs.glob("*/*.partial"))
    for path in runs.glob("*/*.spectrum.h5"):
        own, other = load(path), load(finished / path.relative_to(runs))
        assert own.complete
        for block, same in zip(own.blocks, other.blocks, strict=True):  # engines may differ: rounding
            moments = [(b.eigenvalues if b.probes is None else b.probes.alphas).sum() for b in (block, same)]
            assert moments[0] == pytest.approx(moments[1], rel=1e-3)


def test_a_spectrum_of_other_weights_is_measured_anew_even_where_size_and_time_are_the_same(measured, capfd):
    runs = measured
    changed = runs / "adam" / "step-000040.safetensors"
    before, times = fingerprint(str(changed)), changed.stat()
    save_step(runs / "adam", 40, seed=7)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert changed.stat().st_size == times.st_size
    capfd.readouterr()

    assert compare("--no-measure", "--json") == 0
    out, told = capfd.readouterr()
    (warning,) = json.loads(out)["warnings"]
    assert "adam/step-000040.spectrum.h5" in warning
    assert "weights of its checkpoint have changed" in warning
    assert warning in told
    assert compare("--no-measure") == 0
    assert "have changed" in capfd.readouterr().out
    assert compare("--no-measure", "--strict") == 2
    assert "have changed" in capfd.readouterr().err
    with pytest.raises(UsageError, match="more than their weights"):
        hessent.compare("sgd", "adam", strict=True)

    assert load(runs / "adam" / "step-000040.spectrum.h5").checkpoint.sha256 == before
    assert compare(*QUICK) == 0
    out, told = capfd.readouterr()
    assert len(told.splitlines()) == 1
    assert "have changed" in told
    assert "warning" not in out
    assert load(runs / "adam" / "step-000040.spectrum.h5").checkpoint.sha256 == fingerprint(str(changed)) != before
    assert compare("--no-measure", "--strict", "-q") == 0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--samples", "40"), "samples: 32 in the file, 40 now"),
        (("--seed", "3"), "seed: 0 in the file, 3 now"),
        (("--max-matvecs", "14"), "max-matvecs: 12 in the file, 14 now"),
        (("--rtol", "0.3"), "rtol: 0.0 in the file, 0.3 now"),
    ],
)
def test_a_spectrum_of_other_settings_than_typed_now_is_stale(measured, capfd, words, name):
    assert compare("--no-measure", "--json", *words) == 0
    warnings = json.loads(capfd.readouterr().out)["warnings"]
    assert len(warnings) == 4
    assert all(name in text for text in warnings)


def test_data_by_a_path_is_judged_by_its_content(runs, capfd, monkeypatch):
    torch.manual_seed(0)
    arrays = {"x": torch.randn(40, 64), "y": torch.arange(40) % 10}
    save_file(arrays, "data.safetensors")
    words = ("--data", "arrays:data.safetensors", "--max-matvecs", "12")
    assert compare(*words, "-q") == 0
    before = written(runs)
    capfd.readouterr()
    assert compare(*words, "--no-measure", "--strict") == 0
    arrays["x"][3, 5] += 1.0
    save_file(arrays, "data.safetensors")
    assert compare(*words, "--no-measure", "--strict") == 2
    assert "data:" in capfd.readouterr().err
    assert written(runs) == before


def test_a_checkpoint_that_cannot_be_read_leaves_a_doubt_and_no_error(measured, capfd):
    (measured / "sgd" / "step-000000.safetensors").write_bytes(b"damaged")
    assert compare("--json") == 0
    (warning,) = json.loads(capfd.readouterr().out)["warnings"]
    assert "cannot be read" in warning
    assert compare("--strict") == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.int64, torch.float64])
def test_the_fingerprint_is_that_of_the_loaded_tensors(tmp_path, dtype):
    torch.manual_seed(0)
    tensors = {"b.weight": (torch.randn(7, 3) > 0).to(dtype), "a": torch.zeros(0), "c.é": torch.ones(())}
    one, other = str(tmp_path / "model.safetensors"), str(tmp_path / "model.pt")
    save_file(tensors, one)
    torch.save(tensors, other)
    expected = open_checkpoint(one).load(torch.float64).sha256
    assert fingerprint(one) == fingerprint(other) == open_checkpoint(other).load(torch.float64).sha256 == expected
    if dtype is torch.bool:  # a stored bool may be any byte
        raw = bytearray(Path(one).read_bytes())
        first = raw.rindex(1)
        raw[first] = 7
        Path(one).write_bytes(raw)
        assert fingerprint(one) == expected


def test_an_option_out_of_range_is_refused_before_anything_is_measured(runs, capfd):
    assert compare("--samples", "0") == 2
    assert capfd.readouterr().err.startswith("error: ")
    assert not written(runs)


def test_the_edge_of_stability_stands_beside_the_largest_eigenvalue(measured, capfd):
    assert compare("--json") == 0
    document = json.loads(capfd.readouterr().out)
    jsonschema.validate(document, load_schema("hessent.compare/1"))
    first = document["runs"][0]["checkpoints"][0]
    limit = 2 * (1 + 0.9) / 0.1
    assert first["stability"]["limit"] == pytest.approx(limit)
    largest = first["blocks"]["full"]["lambda_max"]["value"]
    assert first["stability"]["lambda_max_over_limit"]["full"]["value"] == pytest.approx(largest / limit)
    assert compare() == 0
    out = capfd.readouterr().out
    assert "λ_max/limit" in out
    assert "2(1 + β)/η of sgd" in out
    assert compare("--measure", "trace") == 0
    assert "λ_max/limit" not in capfd.readouterr().out
    assert main(["summary", "sgd/step-000000.spectrum.h5", "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    jsonschema.validate(summary, load_schema("hessent.summary/1"))
    assert summary["spectra"][0]["stability"]["limit"] == pytest.approx(limit)
    assert main(["summary", "sgd/step-000000.spectrum.h5"]) == 0
    told = capfd.readouterr().out
    assert re.search(r"0\.085–0\.09\d times the limit of stable steps, 2\(1 \+ β\)/η = 38", told), told
